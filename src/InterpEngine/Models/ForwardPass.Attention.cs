using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>The attention half of a block.</summary>
internal sealed partial class ForwardPass
{
    /// <param name="layer">The block.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="residPre">The residual stream before it.</param>
    /// <param name="normed">What queries, keys and values are projected from.</param>
    /// <returns>residPre + what attention adds.</returns>
    private Tensor Attention(int layer, BlockWeights weights, Tensor residPre, Tensor normed)
    {
        AttentionWeights attention = weights.Attention;
        (Tensor q, Tensor k, Tensor v) = _description.Latent is { } latent
            ? LatentHeads(layer, attention, latent, normed)
            : DirectHeads(layer, weights, residPre, normed);
        Tensor z = Mix(layer, attention.Sinks, q, Remember(k, _cache?.Keys(layer)), Remember(v, _cache?.Values(layer)));
        q.Dispose();
        _hooks.Visit(HookKind.Z, layer, ref z);

        Tensor sum = ShowResults(layer, attention.O, z) is { } results
            ? AddTo(residPre, SumOfHeads(results, attention.O.Bias), weights.Ln1Post, WritePoints.Attention, layer)
            : ProjectAndAdd(z, attention.O, residPre, weights.Ln1Post, WritePoints.Attention, layer);
        z.Dispose();
        return sum;
    }

    /// <summary>Queries and keys as they enter the dot product, and values.</summary>
    private (Tensor Q, Tensor K, Tensor V) DirectHeads(int layer, BlockWeights weights, Tensor residPre, Tensor normed)
    {
        (int heads, int groups) = (_description.Heads, _description.KeyValueHeads);
        AttentionWeights attention = weights.Attention;
        NormWeights? norm = _description.Norms == NormPlacement.OnResidual ? null : weights.Ln1;
        using Tensor? attnIn = PerHead(HookKind.AttnIn, layer, residPre, null, heads);
        Tensor q = HeadInputs(HookKind.QInput, HookKind.Q, layer, residPre, attnIn, normed, norm, attention.Q, heads);
        Tensor k = HeadInputs(HookKind.KInput, HookKind.K, layer, residPre, attnIn, normed, norm, attention.K, groups);
        Tensor v = HeadInputs(HookKind.VInput, HookKind.V, layer, residPre, attnIn, normed, norm, attention.V, groups);
        Adjust(attention.QNorm, HookKind.Q, layer, ref q);
        Adjust(attention.KNorm, HookKind.K, layer, ref k);
        Adjust(null, HookKind.V, layer, ref v);
        Rotate(HookKind.Q, HookKind.RotQ, layer, ref q);
        Rotate(HookKind.K, HookKind.RotK, layer, ref k);
        return (q, k, v);
    }

    /// <summary>
    /// Queries, keys or values [batch, positions, heads, head size]. Usually a projection of the norm's output; where a hook changed
    /// what some head reads, each head has its own input, norm and projection.
    /// </summary>
    private Tensor HeadInputs(
        HookKind inputKind, HookKind kind, int layer, Tensor residPre, Tensor? attnIn, Tensor normed, NormWeights? norm, Linear projection,
        int heads)
    {
        int size = _description.HeadSize, width = _description.Width;
        using Tensor? input = PerHead(inputKind, layer, residPre, attnIn, heads);
        Tensor result;
        if (input is null)
        {
            result = Project(normed, projection, heads, size);
        }
        else
        {
            result = New(heads, size);
            using Tensor normedHeads = norm is null ? input.Share() : New(heads, width);
            if (norm is not null)
            {
                _device.Run(norm.Of(input, _description) with { Out = normedHeads });
            }

            for (int head = 0; head < heads; head++)
            {
                using Tensor? bias = projection.Bias?.Slice(head * size, size);
                _device.Run(new MatMul
                {
                    X = new Matrix(normedHeads, (long)head * width, _batch * _length, width, (long)heads * width),
                    W = projection.Weight,
                    ColumnStart = head * size,
                    Bias = bias,
                    Out = new Matrix(result, (long)head * size, _batch * _length, size, (long)heads * size),
                });
            }
        }

        _hooks.Visit(kind, layer, ref result);
        return result;
    }

    /// <summary>The residual stream once for every head, as a hook point.</summary>
    /// <returns>The heads' inputs if a hook changed them, here or in <paramref name="changed"/>; else null.</returns>
    private Tensor? PerHead(HookKind kind, int layer, Tensor residPre, Tensor? changed, int heads)
    {
        if (!_hooks.Wants(kind, layer))
        {
            return changed?.Share();
        }

        Tensor? input = changed?.Share();
        if (input is null)
        {
            input = New(heads, _description.Width);
            _device.Run(new RepeatHeads { X = residPre, Out = input });
        }

        if (_hooks.Visit(kind, layer, ref input) || changed is not null)
        {
            return input;
        }

        input.Dispose();
        return null;
    }

    /// <summary>The norm of queries or keys, and the clamp of all three. Their hook points are before both.</summary>
    private void Adjust(NormWeights? norm, HookKind kind, int layer, ref Tensor x)
    {
        if (norm is null && _description.QueryKeyValueLimit == 0)
        {
            return;
        }

        Tensor result = InPlaceOf(kind, layer, x);
        if (norm is not null)
        {
            NormOfHeads(norm, x, result);
        }

        if (_description.QueryKeyValueLimit is > 0 and var limit)
        {
            _device.Run(new Map { X = norm is null ? x : result, Kind = MapKind.Clamp, Parameter = limit, Out = result });
        }

        x.Dispose();
        x = result;
    }

    private void NormOfHeads(NormWeights norm, Tensor x, Tensor result)
    {
        (int heads, int size) = (x.Shape[2], x.Shape[3]);
        switch (_description.QueryKeyNorm)
        {
            case QueryKeyNorm.PerHead:
                _device.Run(norm.Of(x, _description) with { Out = result });
                break;
            case QueryKeyNorm.AllHeads:
                _device.Run(norm.Of(Flat(x), _description) with { Out = Flat(result) });
                break;
            default:
                for (int head = 0; head < heads; head++)
                {
                    using Tensor? gain = norm.Gain?.Slice(head * size, size), bias = norm.Bias?.Slice(head * size, size);
                    Matrix one = new(x, (long)head * size, _batch * _length, size, (long)heads * size);
                    _device.Run(new NormWeights(gain, bias).Of(one, _description) with { Out = one with { Tensor = result } });
                }

                break;
        }
    }

    private void Rotate(HookKind kind, HookKind rotatedKind, int layer, ref Tensor x)
    {
        if (_description.Positions is not RotaryPositions positions)
        {
            return;
        }

        Rotation rotation = _localRotation is not null && _description.Window(layer) > 0 ? _localRotation : _rotation!;
        bool moves = positions.Pairs == RotaryPairs.InterleavedToHalves;
        Tensor rotated = moves ? _device.Allocate(ElementType.F32, x.Shape) : InPlaceOf(kind, layer, x);
        _device.Run(new Rotary
        {
            X = x,
            Positions = rotation.Positions,
            Cos = rotation.Tables.Cos,
            Sin = rotation.Tables.Sin,
            Pairs = positions.Pairs,
            Start = positions.Start,
            Out = rotated,
        });
        x.Dispose();
        x = rotated;
        _hooks.Visit(rotatedKind, layer, ref x);
    }

    /// <summary>Where a changed x goes: its own memory, unless it was shown under a hook point and may be somebody's now.</summary>
    private Tensor InPlaceOf(HookKind kind, int layer, Tensor x) =>
        _hooks.Wants(kind, layer) ? _device.Allocate(ElementType.F32, x.Shape) : x.Share();

    /// <summary>Appends to the cache, if there is one. Takes x over; the result is everything that attention looks at.</summary>
    private Tensor Remember(Tensor x, Tensor? cached)
    {
        if (cached is null)
        {
            return x;
        }

        int token = x.Shape[2] * x.Shape[3];
        _device.Run(new Copy
        {
            From = new Matrix(x, 0, _batch, _length * token, (long)_length * token),
            To = new Matrix(cached, (long)_past * token, _batch, _length * token, (long)cached.Shape[1] * token),
        });
        x.Dispose();
        return cached.Share();
    }

    /// <summary>Scores, pattern and z. Takes k and v over.</summary>
    private Tensor Mix(int layer, Tensor? sinks, Tensor q, Tensor k, Tensor v)
    {
        int keys = _past + _length, heads = _description.Heads;
        Tensor z = New(heads, _description.ValueSize);
        Tensor? scores = Square(HookKind.AttnScores), pattern = Square(HookKind.Pattern);
        var op = new Kernels.Attention
        {
            Q = q,
            K = k,
            V = v,
            Keys = keys,
            Spans = _spans,
            Scale = _description.AttentionScale(layer),
            Causal = _description.Causal,
            Window = _description.Window(layer),
            SoftCap = _description.ScoreSoftCap,
            Slopes = _slopes,
            Sinks = sinks,
        };
        if (_hooks.MayReplace(HookKind.AttnScores, layer))
        {
            _device.Run(op with { Scores = scores });
            _hooks.Visit(HookKind.AttnScores, layer, ref scores!);
            op = op with { GivenScores = scores };
        }
        else
        {
            op = op with { Scores = scores };
        }

        if (_hooks.MayReplace(HookKind.Pattern, layer))
        {
            _device.Run(op with { Pattern = pattern });
            _hooks.Visit(HookKind.Pattern, layer, ref pattern!);
            op = op with { Scores = null, GivenScores = null, GivenPattern = pattern };
        }
        else
        {
            op = op with { Pattern = pattern };
        }

        _device.Run(op with { Z = z });
        if (!_hooks.MayReplace(HookKind.AttnScores, layer))
        {
            Show(HookKind.AttnScores, layer, scores);
            scores = null;
        }

        if (!_hooks.MayReplace(HookKind.Pattern, layer))
        {
            Show(HookKind.Pattern, layer, pattern);
            pattern = null;
        }

        scores?.Dispose();
        pattern?.Dispose();
        k.Dispose();
        v.Dispose();
        return z;

        Tensor? Square(HookKind kind) =>
            _hooks.Wants(kind, layer) ? _device.Allocate(ElementType.F32, _batch, heads, _length, keys) : null;
    }

    /// <summary>What each head writes, as a hook point [batch, positions, heads, d].</summary>
    /// <returns>The heads' results if a hook changed them; else null, and the output projection goes its usual way.</returns>
    private Tensor? ShowResults(int layer, Linear projection, Tensor z)
    {
        if (!_hooks.Wants(HookKind.Result, layer))
        {
            return null;
        }

        int heads = z.Shape[2], size = z.Shape[3], width = _description.Width;
        Tensor results = New(heads, width);
        for (int head = 0; head < heads; head++)
        {
            _device.Run(new MatMul
            {
                X = new Matrix(z, (long)head * size, _batch * _length, size, (long)heads * size),
                W = projection.Weight,
                InnerStart = head * size,
                Out = new Matrix(results, (long)head * width, _batch * _length, width, (long)heads * width),
            });
        }

        if (_hooks.Visit(HookKind.Result, layer, ref results))
        {
            return results;
        }

        results.Dispose();
        return null;
    }

    /// <summary>Takes the results over.</summary>
    private Tensor SumOfHeads(Tensor results, Tensor? bias)
    {
        Tensor sum = Residual();
        _device.Run(new SumHeads { X = results, Bias = bias, Out = sum });
        results.Dispose();
        return sum;
    }
}
