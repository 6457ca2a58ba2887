using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// The one forward pass: straight-line code over ops that reads the model's description. At each hook site it asks whether anyone
/// wants the value; a capture makes the fused op store one more output, and only a callback that may replace the value splits it.
/// By the ops' contracts the bits are the same either way.
/// </summary>
internal sealed partial class ForwardPass : IDisposable
{
    private readonly Device _device;
    private readonly ModelDescription _description;
    private readonly ModelWeights _weights;
    private readonly TokenBatch _tokens;
    private readonly KeyValueCache? _cache;
    private readonly HookSession _hooks;
    private readonly CancellationToken _cancellation;

    private readonly int _batch;
    private readonly int _length;
    private readonly int _past;
    private readonly int[] _positions;
    private readonly Tensor _spans;
    private readonly RotaryTables.Rows? _rotary;
    private readonly Tensor? _rotaryRows;
    private readonly int[] _rotaryKeys = [];

    public ForwardPass(
        Device device, ModelDescription description, ModelWeights weights, RotaryTables? rotary, TokenBatch tokens, KeyValueCache? cache,
        HookSession hooks, CancellationToken cancellation)
    {
        (_device, _description, _weights) = (device, description, weights);
        (_tokens, _cache, _hooks, _cancellation) = (tokens, cache, hooks, cancellation);
        (_batch, _length, _past) = (tokens.Batch, tokens.Length, cache?.Length ?? 0);
        cache?.CheckNext(tokens);

        // A sequence's positions count from its first real token; padding has none.
        ReadOnlySpan<int> cachedFirst = cache is not null ? cache.First : new int[_batch];
        var spans = new int[_batch * 2];
        var totals = new int[_batch];
        _positions = new int[_batch * _length];
        for (int row = 0; row < _batch; row++)
        {
            (int start, int end) = tokens.Spans[row];
            int first = _past == 0 ? start : cachedFirst[row];
            (spans[2 * row], spans[2 * row + 1], totals[row]) = (first, _past + end, _past + end - first);
            for (int i = 0; i < _length; i++)
            {
                _positions[row * _length + i] = i >= start && i < end ? _past + i - first : -1;
            }
        }

        if (description.Positions is LearnedPositions && totals.Max() > description.Context)
        {
            throw new ModelException(
                $"A text of {totals.Max()} tokens does not fit the model's {description.Context} learned positions.", "Shorten the text.");
        }

        if (description.Positions is RotaryPositions positions)
        {
            _rotaryKeys = [.. totals.Select(positions.Frequencies.LengthKey)];
            cache?.CheckRotation(_rotaryKeys);
            _rotary = rotary!.For(totals);
            var rows = new int[_positions.Length];
            for (int i = 0; i < rows.Length; i++)
            {
                rows[i] = _positions[i] < 0 ? -1 : _positions[i] + _rotary.FirstRow[i / _length];
            }

            _rotaryRows = device.Upload<int>(rows, rows.Length);
        }

        _spans = device.Upload<int>(spans, _batch, 2);
    }

    /// <summary>Whether anyone looks at the final norm.</summary>
    public bool FinalNormIsObserved => _hooks.Wants(HookKind.LnFinalScale, 0) || _hooks.Wants(HookKind.LnFinalNormalized, 0);

    /// <summary>The residual stream before the first block.</summary>
    public Tensor Embed()
    {
        // Padding gives zeros: the id −1 is no token.
        int[] ids = _tokens.Ids.ToArray();
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = _positions[i] < 0 ? -1 : ids[i];
        }

        Tensor residual = LookUp(_weights.TokenEmbedding, ids);
        _hooks.Visit(HookKind.Embed, 0, ref residual);
        if (_weights.PositionEmbedding is { } table)
        {
            Tensor positions = LookUp(table, _positions);
            _hooks.Visit(HookKind.PosEmbed, 0, ref positions);
            Tensor sum = Residual();
            _device.Run(new Add { A = residual, B = positions, Out = sum });
            residual.Dispose();
            positions.Dispose();
            residual = sum;
        }

        return residual;
    }

    /// <summary>Blocks [from, to). Takes the residual stream over and gives it back after the last block.</summary>
    public Tensor Blocks(Tensor residual, int from, int to)
    {
        for (int layer = from; layer < to; layer++)
        {
            _cancellation.ThrowIfCancellationRequested();
            residual = Block(layer, residual);
        }

        _cache?.Advance(_tokens, _rotaryKeys);
        return residual;
    }

    /// <summary>The final norm. Takes the residual stream over.</summary>
    /// <param name="residual">The residual stream after the last block.</param>
    /// <param name="lastOnly">Whether only each sequence's last real token is wanted, if no hook looks at the norm.</param>
    /// <returns>[batch, positions, d], or [batch, 1, d] of the last tokens.</returns>
    public Tensor FinalNorm(Tensor residual, bool lastOnly)
    {
        _cancellation.ThrowIfCancellationRequested();
        using Tensor rows = lastOnly && !FinalNormIsObserved ? LastTokens(residual) : residual.Share();
        residual.Dispose();
        Tensor normed = Norm(rows, _weights.LnFinal, HookKind.LnFinalScale, HookKind.LnFinalNormalized, 0);
        if (!lastOnly || !FinalNormIsObserved)
        {
            return normed;
        }

        using (normed)
        {
            return LastTokens(normed);
        }
    }

    /// <summary>The unembedding: [.., d] to [.., vocabulary].</summary>
    public Tensor Unembed(Tensor normed) => _weights.Logits(normed);

    public void Dispose()
    {
        _spans.Dispose();
        _rotary?.Dispose();
        _rotaryRows?.Dispose();
    }

    private Tensor Block(int layer, Tensor residPre)
    {
        BlockWeights weights = _weights.Blocks[layer];
        _hooks.Visit(HookKind.ResidPre, layer, ref residPre);
        Tensor residMid = Attention(layer, weights, residPre);
        if (!_description.ParallelBlock)
        {
            _hooks.Visit(HookKind.ResidMid, layer, ref residMid);
        }

        // Both halves of a parallel block read the block's input; residMid is then only a partial sum that nobody may see.
        Tensor residPost = Mlp(layer, weights, _description.ParallelBlock ? residPre : residMid, residMid);
        residPre.Dispose();
        residMid.Dispose();
        _hooks.Visit(HookKind.ResidPost, layer, ref residPost);
        return residPost;
    }

    /// <returns>added + what the MLP makes of its input.</returns>
    private Tensor Mlp(int layer, BlockWeights weights, Tensor input, Tensor added)
    {
        Tensor mlpIn = input.Share();
        _hooks.Visit(HookKind.MlpIn, layer, ref mlpIn);
        using Tensor normed = Norm(mlpIn, weights.Ln2, HookKind.Ln2Scale, HookKind.Ln2Normalized, layer);
        mlpIn.Dispose();

        Tensor? linear = null;
        if (weights.MlpUp is { } up)
        {
            linear = Project(normed, up, _description.MlpWidth);
            _hooks.Visit(HookKind.MlpPreLinear, layer, ref linear);
        }

        Tensor post = Neurons(layer, weights.MlpIn, normed, linear);
        linear?.Dispose();
        _hooks.Visit(HookKind.MlpPost, layer, ref post);
        Tensor sum = ProjectAndAdd(post, weights.MlpOut, added, HookKind.MlpOut, layer);
        post.Dispose();
        return sum;
    }

    /// <summary>The first projection of an MLP with its activation and gate, in one op unless a hook may change what lies between.</summary>
    private Tensor Neurons(int layer, Linear projection, Tensor normed, Tensor? gated)
    {
        Tensor post = New(_description.MlpWidth);
        if (_hooks.MayReplace(HookKind.MlpPre, layer))
        {
            Tensor changed = Project(normed, projection, _description.MlpWidth);
            _hooks.Visit(HookKind.MlpPre, layer, ref changed);
            _device.Run(new Activate { X = changed, Activation = _description.Activation, Multiply = View(gated), Out = post });
            changed.Dispose();
            return post;
        }

        Tensor? pre = _hooks.Wants(HookKind.MlpPre, layer) ? New(_description.MlpWidth) : null;
        _device.Run(new MatMul
        {
            X = normed,
            W = projection.Weight,
            Bias = projection.Bias,
            Activation = _description.Activation,
            Multiply = View(gated),
            Pre = View(pre),
            Out = post,
        });
        Show(HookKind.MlpPre, layer, pre);
        return post;
    }

    /// <summary>residual + projection of x; what is added is a hook point.</summary>
    private Tensor ProjectAndAdd(Tensor x, Linear projection, Tensor residual, HookKind kind, int layer)
    {
        if (_hooks.MayReplace(kind, layer))
        {
            return AddTo(residual, Project(x, projection, _description.Width), kind, layer);
        }

        Tensor sum = Residual();
        Tensor? delta = _hooks.Wants(kind, layer) ? Residual() : null;
        _device.Run(new MatMul
        {
            X = Flat(x),
            W = projection.Weight,
            Bias = projection.Bias,
            Residual = residual,
            Delta = View(delta),
            Out = sum,
        });
        Show(kind, layer, delta);
        return sum;
    }

    /// <summary>residual + delta, delta being a hook point. Takes delta over.</summary>
    private Tensor AddTo(Tensor residual, Tensor delta, HookKind kind, int layer)
    {
        Tensor sum = Residual();
        _hooks.Visit(kind, layer, ref delta);
        _device.Run(new Add { A = residual, B = delta, Out = sum });
        delta.Dispose();
        return sum;
    }

    /// <summary>A norm with its two hook points.</summary>
    private Tensor Norm(Tensor x, NormWeights weights, HookKind scaleKind, HookKind normalizedKind, int layer)
    {
        Tensor result = _device.Allocate(ElementType.F32, x.Shape);
        bool split = _hooks.MayReplace(scaleKind, layer) || _hooks.MayReplace(normalizedKind, layer);
        Tensor? scale = split || _hooks.Wants(scaleKind, layer) ? _device.Allocate(ElementType.F32, x.Shape[0], x.Shape[1], 1) : null;
        Tensor? normalized = split || _hooks.Wants(normalizedKind, layer) ? _device.Allocate(ElementType.F32, x.Shape) : null;
        Norm op = weights.Of(x, _description);
        if (split)
        {
            _device.Run(op with { Scale = scale });
            _hooks.Visit(scaleKind, layer, ref scale!);
            _device.Run(op with { GivenScale = scale, Normalized = normalized! });
            _hooks.Visit(normalizedKind, layer, ref normalized!);
            _device.Run(op with { GivenNormalized = normalized, Out = result });
            scale.Dispose();
            normalized.Dispose();
        }
        else
        {
            _device.Run(op with { Scale = scale, Normalized = View(normalized), Out = result });
            Show(scaleKind, layer, scale);
            Show(normalizedKind, layer, normalized);
        }

        return result;
    }

    private Tensor Project(Tensor x, Linear projection, params ReadOnlySpan<int> axes)
    {
        Tensor result = New(axes);
        _device.Run(new MatMul { X = Flat(x), W = projection.Weight, Bias = projection.Bias, Out = Flat(result) });
        return result;
    }

    private Tensor LookUp(Weight table, int[] ids)
    {
        using Tensor rows = _device.Upload<int>(ids, ids.Length);
        Tensor result = Residual();
        _device.Run(new Embed { Ids = rows, Table = table, Out = result });
        return result;
    }

    /// <summary>[batch, 1, …]: each sequence's last real token.</summary>
    public Tensor LastTokens(Tensor x)
    {
        Tensor last = _device.Allocate(ElementType.F32, _batch, 1, x.Shape[2]);
        for (int row = 0; row < _batch; row++)
        {
            long at = (long)row * _length + _tokens.Spans[row].End - 1;
            _device.Run(new Copy
            {
                From = new Matrix(x, at * x.Shape[2], 1, x.Shape[2], x.Shape[2]),
                To = new Matrix(last, (long)row * x.Shape[2], 1, x.Shape[2], x.Shape[2]),
            });
        }

        return last;
    }

    /// <summary>Logits at padding are zero.</summary>
    public void ZeroPadding(Tensor logits)
    {
        long columns = logits.Shape[2];
        for (int row = 0; row < _batch; row++)
        {
            (int first, int end) = _tokens.Spans[row];
            foreach ((int from, int to) in (ReadOnlySpan<(int, int)>)[(0, first), (end, _length)])
            {
                if (to > from)
                {
                    long offset = ((long)row * _length + from) * columns;
                    _device.Run(new Fill { Out = new Matrix(logits, offset, to - from, (int)columns, columns), Value = 0 });
                }
            }
        }
    }

    /// <summary>Hands a stored value to the hooks and lets go of it.</summary>
    private void Show(HookKind kind, int layer, Tensor? value)
    {
        if (value is not null)
        {
            _hooks.Visit(kind, layer, ref value);
            value.Dispose();
        }
    }

    private Tensor Residual() => New(_description.Width);

    /// <summary>[batch, positions, axes…].</summary>
    private Tensor New(params ReadOnlySpan<int> axes) => _device.Allocate(ElementType.F32, [_batch, _length, .. axes]);

    private static Matrix? View(Tensor? tensor) => tensor is null ? default(Matrix?) : Matrix.From(tensor);

    /// <summary>[batch · positions, everything else]: heads side by side, as a projection sees them.</summary>
    private Matrix Flat(Tensor tensor)
    {
        int columns = checked((int)(tensor.Shape.Count / _batch / _length));
        return new Matrix(tensor, 0, _batch * _length, columns, columns);
    }
}
