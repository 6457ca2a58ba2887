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
    private readonly TokenInputs _inputs;
    private readonly KeyValueCache? _cache;
    private readonly HookSession _hooks;
    private readonly CancellationToken _cancellation;

    private readonly int _batch;
    private readonly int _length;
    private readonly int _past;
    private readonly Tensor? _slopes;

    public ForwardPass(
        Device device, ModelDescription description, ModelWeights weights, TokenBatch tokens, TokenInputs inputs, KeyValueCache? cache,
        HookSession hooks, CancellationToken cancellation)
    {
        (_device, _description, _weights) = (device, description, weights);
        (_tokens, _inputs, _cache, _hooks, _cancellation) = (tokens, inputs, cache, hooks, cancellation);
        (_batch, _length, _past) = (tokens.Batch, tokens.Length, cache?.Length ?? 0);
        if (description.Positions is AlibiPositions alibi)
        {
            _slopes = device.Upload<float>([.. alibi.Slopes], alibi.Slopes.Count);
        }
    }

    /// <summary>The residual stream before the first block.</summary>
    public Tensor Embed()
    {
        Tensor tokens = LookUp(_weights.TokenEmbedding, _inputs.Ids);
        if (_weights.EmbeddingProjection is { } projection)
        {
            using Tensor narrow = tokens;
            tokens = Project(narrow, projection, _description.Width);
        }

        if (_description.EmbeddingScale != 1)
        {
            _device.Run(new Map { X = tokens, Kind = MapKind.Scale, Parameter = _description.EmbeddingScale, Out = tokens });
        }

        return _description.TokenTypes > 0 ? EmbedSentences(tokens) : EmbedText(tokens);
    }

    /// <summary>A decoder's: token embeddings, normed as some models do, plus learned positions. Takes the tokens over.</summary>
    private Tensor EmbedText(Tensor tokens)
    {
        if (_weights.EmbeddingNorm is { } norm)
        {
            using Tensor raw = tokens;
            tokens = Norm(raw, norm, HookKind.EmbedLnScale, HookKind.EmbedLnNormalized, 0);
        }

        _hooks.Visit(HookKind.Embed, 0, ref tokens);
        if (_weights.PositionEmbedding is not { } table)
        {
            return tokens;
        }

        Tensor positions = LookUp(table, _inputs.Places);
        _hooks.Visit(HookKind.PosEmbed, 0, ref positions);
        return Sum(tokens, positions);
    }

    /// <summary>An encoder's: the norm of tokens plus token types plus positions. Takes the tokens over.</summary>
    private Tensor EmbedSentences(Tensor tokens)
    {
        int[] types = [.. _inputs.Positions.Select((position, i) => position < 0 ? -1 : _tokens.TypeOf(i))];
        using Tensor typeIds = _device.Upload<int>(types, types.Length);
        _hooks.Visit(HookKind.EncoderEmbed, 0, ref tokens);
        Tensor typeEmbedding = LookUp(_weights.TokenTypeEmbedding!, typeIds);
        _hooks.Visit(HookKind.TokenTypeEmbed, 0, ref typeEmbedding);
        Tensor positions = LookUp(_weights.PositionEmbedding!, _inputs.Places);
        _hooks.Visit(HookKind.EncoderPosEmbed, 0, ref positions);
        using Tensor sum = Sum(Sum(tokens, typeEmbedding), positions);
        return Norm(sum, _weights.EmbeddingNorm!, HookKind.EmbedLnScale, HookKind.EmbedLnNormalized, 0);
    }

    /// <summary>Blocks [from, to). Takes the residual stream over and gives it back after the last block.</summary>
    public Tensor Blocks(Tensor residual, int from, int to)
    {
        for (int layer = from; layer < to; layer++)
        {
            _cancellation.ThrowIfCancellationRequested();
            residual = Block(layer, residual);
        }

        return residual;
    }

    public void Dispose() => _slopes?.Dispose();

    private Tensor Block(int layer, Tensor residPre)
    {
        BlockWeights weights = _weights.Blocks[layer];
        bool onResidual = _description.Norms == NormPlacement.OnResidual, before = weights.Ln1 is not null && !onResidual;
        _hooks.Visit(HookKind.ResidPre, layer, ref residPre);
        ElementType type = weights.Mixture is null ? OperandOf(weights.Attention.Q) : ElementType.F32;
        using Tensor normed = before
            ? Norm(residPre, weights.Ln1!, HookKind.Ln1Scale, HookKind.Ln1Normalized, layer, type: type)
            : residPre.Share();
        Tensor residMid = Attention(layer, weights, residPre, normed);
        if (!_description.ParallelBlock)
        {
            _hooks.Visit(HookKind.ResidMid, layer, ref residMid);
        }

        if (onResidual)
        {
            residMid = Replaced(residMid, weights.Ln1!, HookKind.Ln1Scale, HookKind.Ln1Normalized, layer);
        }

        // Both halves of a parallel block read the block's input; residMid is then only a partial sum that nobody may see.
        Tensor? shared = _description.SharedNorm ? normed : null;
        Tensor residPost = Mlp(layer, weights, _description.ParallelBlock ? residPre : residMid, shared, residMid);
        residPre.Dispose();
        residMid.Dispose();
        _hooks.Visit(HookKind.ResidPost, layer, ref residPost);
        if (onResidual)
        {
            residPost = Replaced(residPost, weights.Ln2!, HookKind.Ln2Scale, HookKind.Ln2Normalized, layer);
            _hooks.Visit(HookKind.NormalizedResidPost, layer, ref residPost);
        }

        return residPost;
    }

    /// <summary>A norm that takes its input over.</summary>
    private Tensor Replaced(Tensor x, NormWeights weights, HookKind scaleKind, HookKind normalizedKind, int layer)
    {
        using (x)
        {
            return Norm(x, weights, scaleKind, normalizedKind, layer);
        }
    }
}
