using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Captures;

/// <summary>What to keep of every sequence of a corpus.</summary>
public sealed record CaptureOptions
{
    /// <summary>The points to capture.</summary>
    public required HookSelection Points { get; init; }

    /// <summary>Whether to keep the logits.</summary>
    public bool Logits { get; init; }

    /// <summary>Whether to keep each sequence's mean next-token cross-entropy.</summary>
    public bool Loss { get; init; }

    /// <summary>
    /// Which positions of each sequence to keep, as far as it has them; of attention scores and patterns, which queries.
    /// </summary>
    public Range Positions { get; init; } = Range.All;

    /// <summary>
    /// What values and logits are stored as: F32, BF16 or F16 (rounded to nearest, ties to even), or I8 with a scale for each row
    /// (docs/capture-format.md).
    /// </summary>
    public ElementType Type { get; init; } = ElementType.F32;

    /// <summary>Bytes of a shard at most, unless a single sequence has more.</summary>
    public long ShardBytes { get; init; } = 256L << 20;

    /// <summary>Sequences to run at once; 0 for as many as fit a moderate memory. Values do not depend on it.</summary>
    public int Batch { get; init; }

    /// <summary>Refuses what cannot be stored.</summary>
    /// <exception cref="CaptureException">The type is none of the four, or cannot hold a point's values.</exception>
    /// <exception cref="HookException">A point does not exist.</exception>
    public void Check(Model model)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (Type is not (ElementType.F32 or ElementType.BF16 or ElementType.F16 or ElementType.I8))
        {
            throw new CaptureException($"Values cannot be stored as {Type}.", "Choose F32, BF16, F16 or I8.");
        }

        HookPoint[] scores = [.. Points.Resolve(model.Points).Where(point => point.Kind == HookKind.AttnScores)];
        if (Type == ElementType.I8 && scores.Length > 0)
        {
            throw new CaptureException(
                $"{scores[0].Name} cannot be stored as I8: attention scores are minus infinity at masked keys.",
                "Choose F16 or BF16, or leave the scores out.");
        }
    }
}

/// <summary>Some tokens to run the model on.</summary>
/// <param name="Document">The document that they are from; the first is 0. A long document gives several sequences.</param>
/// <param name="Ids">The tokens.</param>
public sealed record CaptureSequence(int Document, int[] Ids);

/// <summary>How far a capture is.</summary>
/// <param name="Sequences">Sequences computed, those of earlier runs included.</param>
/// <param name="Tokens">Tokens computed by this run.</param>
/// <param name="Bytes">Bytes safely on disk, those of earlier runs included.</param>
public readonly record struct CaptureProgress(long Sequences, long Tokens, long Bytes);

/// <summary>
/// A folder cannot hold the capture that was asked for: another one is there, someone else writes to it, or it is too large.
/// </summary>
public sealed class CaptureException : InterpException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, naming the folder and the setting.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public CaptureException(string message, string? hint = null, Exception? inner = null)
        : base(message, hint, inner)
    {
    }
}
