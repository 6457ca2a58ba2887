using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>A projection and its bias.</summary>
internal sealed record Linear(Weight Weight, Tensor? Bias) : IDisposable
{
    public long Bytes => Weight.Bytes + (Bias?.Bytes ?? 0);

    public void Dispose()
    {
        Weight.Dispose();
        Bias?.Dispose();
    }
}

/// <summary>A norm's gain and bias.</summary>
internal sealed record NormWeights(Tensor? Gain, Tensor? Bias) : IDisposable
{
    public long Bytes => (Gain?.Bytes ?? 0) + (Bias?.Bytes ?? 0);

    /// <summary>This norm of x, its results yet to be asked for.</summary>
    public Norm Of(Tensor x, ModelDescription model) =>
        new() { Kind = model.Norm, X = x, Epsilon = model.Epsilon, Gain = Gain, Bias = Bias };

    public void Dispose()
    {
        Gain?.Dispose();
        Bias?.Dispose();
    }
}

/// <summary>The weights of one block. <see cref="MlpUp"/> is there where the MLP is gated.</summary>
internal sealed record BlockWeights(
    NormWeights Ln1, Linear Q, Linear K, Linear V, Linear O, NormWeights Ln2, Linear MlpIn, Linear? MlpUp, Linear MlpOut) : IDisposable
{
    public long Bytes => Ln1.Bytes + Q.Bytes + K.Bytes + V.Bytes + O.Bytes + Ln2.Bytes + MlpIn.Bytes + (MlpUp?.Bytes ?? 0) + MlpOut.Bytes;

    public void Dispose()
    {
        foreach (IDisposable? part in (ReadOnlySpan<IDisposable?>)[Ln1, Q, K, V, O, Ln2, MlpIn, MlpUp, MlpOut])
        {
            part?.Dispose();
        }
    }
}

/// <summary>All weights of a model, on one device. A tied unembedding is the embedding's own memory.</summary>
internal sealed record ModelWeights(
    Weight TokenEmbedding, Weight? PositionEmbedding, IReadOnlyList<BlockWeights> Blocks, NormWeights LnFinal, Linear Unembed) : IDisposable
{
    public long Bytes => TokenEmbedding.Bytes + (PositionEmbedding?.Bytes ?? 0) + Blocks.Sum(block => block.Bytes) + LnFinal.Bytes
        + Unembed.Bytes - (Unembed.Weight == TokenEmbedding ? TokenEmbedding.Bytes : 0);

    /// <summary>The unembedding of the final norm's output: [.., d] to [.., vocabulary].</summary>
    public Tensor Logits(Tensor normed)
    {
        Tensor logits = normed.Device.Allocate(ElementType.F32, [.. normed.Shape.Axes[..^1], Unembed.Weight.Columns]);
        normed.Device.Run(new MatMul { X = normed, W = Unembed.Weight, Bias = Unembed.Bias, Out = logits });
        return logits;
    }

    public void Dispose()
    {
        TokenEmbedding.Dispose();
        PositionEmbedding?.Dispose();
        foreach (BlockWeights block in Blocks)
        {
            block.Dispose();
        }

        LnFinal.Dispose();
        Unembed.Dispose();
    }
}
