using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>What a run computed. It owns its tensors.</summary>
public sealed class RunResult : IDisposable
{
    /// <summary>F32 [batch, positions, vocabulary], or [batch, 1, vocabulary] for the last tokens alone; null where none were asked for.</summary>
    public Tensor? Logits { get; init; }

    /// <summary>F32 [batch, positions, d]: the residual stream before the block at which the run stopped; null where it ran to the end.</summary>
    public Tensor? Residual { get; init; }

    /// <summary>What was read off the logits; null where nothing was asked for.</summary>
    public Predictions? Predictions { get; init; }

    /// <summary>Mean cross-entropy of the next tokens, or of the labels, in nats over the real tokens; null where it was not asked for.</summary>
    public double? Loss { get; init; }

    /// <summary>
    /// Log-probability of each next token [batch, positions − 1], NaN where it or its predecessor is padding; null where no loss was
    /// asked for.
    /// </summary>
    public float[,]? NextTokenLogProbabilities { get; init; }

    /// <summary>
    /// Bytes of tensors at the run's peak, beyond what was there before it: the buffers of one layer and what was captured. Other
    /// runs on the same device at the same time count too.
    /// </summary>
    public long PeakBytes { get; internal set; }

    /// <summary>The captured values.</summary>
    public required ActivationCache Cache { get; init; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Logits?.Dispose();
        Residual?.Dispose();
        Cache.Dispose();
    }
}
