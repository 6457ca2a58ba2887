using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>A projection and its bias.</summary>
internal sealed record Linear(Weight Weight, Tensor? Bias);

/// <summary>A norm's gain and bias.</summary>
internal sealed record NormWeights(Tensor? Gain, Tensor? Bias)
{
    /// <summary>This norm of x, its results yet to be asked for.</summary>
    public Norm Of(Matrix x, ModelDescription model) =>
        new() { Kind = model.Norm, X = x, Epsilon = model.Epsilon, Gain = Gain, Bias = Bias };
}

/// <summary>
/// A block's attention. In latent attention Q, K and V read narrow vectors, K makes the unshared channels, and
/// <see cref="SharedKey"/> the shared ones.
/// </summary>
internal sealed record AttentionWeights(Linear Q, Linear K, Linear V, Linear O)
{
    public NormWeights? QNorm { get; init; }

    public NormWeights? KNorm { get; init; }

    public Tensor? Sinks { get; init; }

    public Linear? QDown { get; init; }

    public NormWeights? QDownNorm { get; init; }

    public Linear? KeyValueDown { get; init; }

    public NormWeights? KeyValueDownNorm { get; init; }

    public Linear? SharedKey { get; init; }
}

/// <summary>An MLP. <see cref="Up"/> is there where it is gated.</summary>
internal sealed record MlpWeights(Linear In, Linear? Up, Linear Out);

/// <summary>A mixture of experts: a gated MLP's projections of each. <see cref="Shared"/> is the expert of all tokens.</summary>
internal sealed record MixtureWeights(Linear Router, Tensor? Correction, WeightGroup In, WeightGroup Up, WeightGroup Out)
{
    /// <summary>Whether the device follows its router's choice without the host.</summary>
    public bool IsChosenByDevice => In.IsChosenByDevice && Up.IsChosenByDevice && Out.IsChosenByDevice;

    public MlpWeights? Shared { get; init; }

    public Linear? SharedGate { get; init; }
}

/// <summary>The weights of one block, which has an MLP or a mixture; norms that its model does not have are null.</summary>
internal sealed record BlockWeights(AttentionWeights Attention, MlpWeights? Mlp, MixtureWeights? Mixture)
{
    public NormWeights? Ln1 { get; init; }

    public NormWeights? Ln1Post { get; init; }

    public NormWeights? Ln2 { get; init; }

    public NormWeights? Ln2Post { get; init; }
}

/// <summary>All weights of a model, on one device. A tied unembedding is the embedding's own memory.</summary>
internal sealed class ModelWeights : IDisposable
{
    private readonly IReadOnlyList<IDisposable> _owned;

    /// <param name="owned">Every weight and vector, each once: what to dispose of.</param>
    /// <param name="bytes">What they hold.</param>
    public ModelWeights(IReadOnlyList<IDisposable> owned, long bytes) => (_owned, Bytes) = (owned, bytes);

    public long Bytes { get; }

    /// <summary>Whether a step reads nothing back: routers' choices need not come to the host.</summary>
    public bool MayBeRecorded => Blocks.All(block => block.Mixture is not { IsChosenByDevice: false });

    public required Weight TokenEmbedding { get; init; }

    public Weight? PositionEmbedding { get; init; }

    public Weight? TokenTypeEmbedding { get; init; }

    public NormWeights? EmbeddingNorm { get; init; }

    public Linear? EmbeddingProjection { get; init; }

    public required IReadOnlyList<BlockWeights> Blocks { get; init; }

    /// <summary>Before the final norm.</summary>
    public Linear? Head { get; init; }

    public NormWeights? LnFinal { get; init; }

    public Linear? UnembeddingProjection { get; init; }

    public required Linear Unembed { get; init; }

    /// <summary>What the final norm reads: the residual stream itself (shared), or its transform in a masked-language-model head.</summary>
    public Tensor HeadOf(Tensor residual, ModelDescription model)
    {
        if (Head is null)
        {
            return residual.Share();
        }

        Tensor result = residual.Device.Allocate(ElementType.F32, residual.Shape);
        residual.Device.Run(
            new MatMul { X = residual, W = Head.Weight, Bias = Head.Bias, Activation = model.Activation, Out = result });
        return result;
    }

    /// <summary>The unembedding of the final norm's output, with the logits' scale and cap: [.., d] to [.., vocabulary].</summary>
    /// <param name="normed">The output.</param>
    /// <param name="model">What the model is.</param>
    /// <param name="linear">Whether biases and cap are left out: what a direction adds to each logit.</param>
    public Tensor Logits(Tensor normed, ModelDescription model, bool linear = false)
    {
        Device device = normed.Device;
        using Tensor narrow = Narrow(normed, linear);
        Tensor logits = device.Allocate(ElementType.F32, [.. normed.Shape.Axes[..^1], Unembed.Weight.Columns]);
        device.Run(new MatMul
        {
            X = narrow,
            W = Unembed.Weight,
            Bias = linear ? null : Unembed.Bias,
            Scale = model.LogitScale,
            SoftCap = linear ? 0 : model.LogitSoftCap,
            Out = logits,
        });
        return logits;
    }

    public void Dispose()
    {
        foreach (IDisposable part in _owned)
        {
            part.Dispose();
        }
    }

    private Tensor Narrow(Tensor normed, bool linear)
    {
        if (UnembeddingProjection is not { } projection)
        {
            return normed.Share();
        }

        Tensor result = normed.Device.Allocate(ElementType.F32, [.. normed.Shape.Axes[..^1], projection.Weight.Columns]);
        normed.Device.Run(new MatMul { X = normed, W = projection.Weight, Bias = linear ? null : projection.Bias, Out = result });
        return result;
    }
}
