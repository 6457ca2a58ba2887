using System.Runtime.InteropServices;
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
        if (_cache is not null)
        {
            (k, v) = Remember(k, v, _cache.Keys(layer), _cache.Values(layer));
        }

        Tensor z = Mix(layer, attention, q, k, v);
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
        using Tensor? qInput = PerHead(HookKind.QInput, layer, residPre, attnIn, heads);
        using Tensor? kInput = PerHead(HookKind.KInput, layer, residPre, attnIn, groups);
        using Tensor? vInput = PerHead(HookKind.VInput, layer, residPre, attnIn, groups);
        Projection[] projections =
        [
            new(attention.Q, heads, attention.QNorm, qInput, HookKind.Q, HookKind.RotQ),
            new(attention.K, groups, attention.KNorm, kInput, HookKind.K, HookKind.RotK),
            new(attention.V, groups, null, vInput, HookKind.V, null),
        ];
        Tensor[] results = ProjectHeads(layer, normed, norm, projections);
        return (results[0], results[1], results[2]);
    }

    /// <summary>A projection to heads, what stands behind it and its hook points.</summary>
    /// <param name="Linear">Weight and bias.</param>
    /// <param name="Heads">How many heads.</param>
    /// <param name="Norm">The norm of its result.</param>
    /// <param name="Input">What each head reads where a hook changed that, [batch, positions, heads, d].</param>
    /// <param name="Kind">The hook point of its result.</param>
    /// <param name="Rotated">The hook point of its result after rotation, if it is rotated where the model has rotations.</param>
    private readonly record struct Projection(
        Linear Linear, int Heads, NormWeights? Norm, Tensor? Input, HookKind Kind, HookKind? Rotated);

    /// <summary>
    /// Queries, keys and values [batch, positions, heads, head size], normed, clamped and rotated as the model has it: one op, with the
    /// rotation in it unless a norm, a clamp or a hook stands before it.
    /// </summary>
    private Tensor[] ProjectHeads(int layer, Tensor normed, NormWeights? norm, Projection[] projections)
    {
        HeadRotation? rotation = RotationOf(layer);
        Tensor[] results = [.. projections.Select(projection => New(projection.Heads, _description.HeadSize))];
        Tensor?[] unrotated = new Tensor?[results.Length];
        bool[] rotates = [.. projections.Select(projection => rotation is not null && projection.Rotated is not null)];
        bool[] atOnce = [.. projections.Select((projection, i) => rotates[i] && MayRotateAtOnce(projection, layer))];
        var products = new List<MatMul>();
        for (int i = 0; i < results.Length; i++)
        {
            if (projections[i].Input is { } input)
            {
                ProjectEachHead(input, norm, projections[i].Linear, results[i]);
                continue;
            }

            unrotated[i] = atOnce[i] && _hooks.Wants(projections[i].Kind, layer) ? _device.Allocate(ElementType.F32, results[i].Shape) : null;
            products.Add(ProductOf(normed, projections[i].Linear, results[i]) with
            {
                Rotation = atOnce[i] ? rotation : null,
                Pre = unrotated[i] is { } pre ? Flat(pre) : default(Matrix?),
            });
        }

        _device.Run(CollectionsMarshal.AsSpan(products));
        for (int i = 0; i < results.Length; i++)
        {
            if (atOnce[i])
            {
                Show(projections[i].Kind, layer, unrotated[i]);
            }
            else
            {
                _hooks.Visit(projections[i].Kind, layer, ref results[i]);
            }
        }

        for (int i = 0; i < results.Length; i++)
        {
            Adjust(projections[i].Norm, projections[i].Kind, layer, ref results[i]);
            if (!rotates[i])
            {
                continue;
            }

            if (!atOnce[i])
            {
                Rotate(rotation!.Value, projections[i].Kind, layer, ref results[i]);
            }

            _hooks.Visit(projections[i].Rotated!.Value, layer, ref results[i]);
        }

        return results;
    }

    /// <summary>Whether nothing stands between a projection and its rotation, and that can be done in place.</summary>
    private bool MayRotateAtOnce(Projection projection, int layer) =>
        projection is { Norm: null, Input: null } && _description.QueryKeyValueLimit == 0 && !_hooks.MayReplace(projection.Kind, layer)
        && _description.Positions is RotaryPositions { Pairs: not RotaryPairs.InterleavedToHalves };

    /// <summary>A projection where each head has its own input and norm of it.</summary>
    private void ProjectEachHead(Tensor input, NormWeights? norm, Linear projection, Tensor result)
    {
        (int heads, int size, int width) = (result.Shape[2], result.Shape[3], _description.Width);
        using Tensor normed = norm is null ? input.Share() : New(heads, width);
        if (norm is not null)
        {
            _device.Run(norm.Of(input, _description) with { Out = normed });
        }

        for (int head = 0; head < heads; head++)
        {
            using Tensor? bias = projection.Bias?.Slice(head * size, size);
            _device.Run(new MatMul
            {
                X = new Matrix(normed, (long)head * width, _batch * _length, width, (long)heads * width),
                W = projection.Weight,
                ColumnStart = head * size,
                Bias = bias,
                Out = new Matrix(result, (long)head * size, _batch * _length, size, (long)heads * size),
            });
        }
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

    /// <summary>A block's rotation of queries and keys, if the model has one.</summary>
    private HeadRotation? RotationOf(int layer)
    {
        if (_description.Positions is not RotaryPositions positions)
        {
            return null;
        }

        Rotation rotation = _inputs.LocalRotation is { } local && _description.Window(layer) > 0 ? local : _inputs.Rotation!;
        return new HeadRotation(
            rotation.Positions, rotation.Tables.Cos, rotation.Tables.Sin, positions.Pairs, positions.Start);
    }

    private void Rotate(HeadRotation rotation, HookKind kind, int layer, ref Tensor x)
    {
        bool moves = rotation.Pairs == RotaryPairs.InterleavedToHalves;
        Tensor rotated = moves ? _device.Allocate(ElementType.F32, x.Shape) : InPlaceOf(kind, layer, x);
        _device.Run(rotation.Of(x) with { Out = rotated });
        x.Dispose();
        x = rotated;
    }

    /// <summary>Where a changed x goes: its own memory, unless it was shown under a hook point and may be somebody's now.</summary>
    private Tensor InPlaceOf(HookKind kind, int layer, Tensor x) =>
        _hooks.Wants(kind, layer) ? _device.Allocate(ElementType.F32, x.Shape) : x.Share();

    /// <summary>Appends to the cache. Takes keys and values over; the results are everything that attention looks at.</summary>
    private (Tensor Keys, Tensor Values) Remember(Tensor keys, Tensor values, Tensor keyCache, Tensor valueCache)
    {
        if (_inputs.At is { } at)
        {
            _device.Run(new Append { Keys = keys, Values = values, KeyCache = keyCache, ValueCache = valueCache, At = at });
        }
        else
        {
            Append(keys, keyCache);
            Append(values, valueCache);
        }

        keys.Dispose();
        values.Dispose();
        return (keyCache.Share(), valueCache.Share());
    }

    private void Append(Tensor x, Tensor cached)
    {
        int token = x.Shape[2] * x.Shape[3];
        _device.Run(new Copy
        {
            From = new Matrix(x, 0, _batch, _length * token, (long)_length * token),
            To = new Matrix(cached, (long)_past * token, _batch, _length * token, (long)cached.Shape[1] * token),
        });
    }

    /// <summary>Scores, pattern and z. Takes k and v over.</summary>
    private Tensor Mix(int layer, AttentionWeights weights, Tensor q, Tensor k, Tensor v)
    {
        int keys = _inputs.KeyCount is null ? _past + _length : _cache!.Capacity, heads = _description.Heads;
        bool isObserved = _hooks.Wants(HookKind.Z, layer) || _hooks.Wants(HookKind.Result, layer);
        Tensor z = New(OperandOf(weights.O, isObserved), heads, _description.ValueSize);
        Tensor? scores = Square(HookKind.AttnScores), pattern = Square(HookKind.Pattern);
        var op = new Kernels.Attention
        {
            Q = q,
            K = k,
            V = v,
            Keys = keys,
            KeyCount = _inputs.KeyCount,
            Spans = _inputs.Spans,
            Scale = _description.AttentionScale(layer),
            Causal = _description.Causal,
            Window = _description.Window(layer),
            SoftCap = _description.ScoreSoftCap,
            Slopes = _slopes,
            Sinks = weights.Sinks,
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
