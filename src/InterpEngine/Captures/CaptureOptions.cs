using InterpEngine.Hooks;

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

    /// <summary>Bytes of a shard at most, unless a single sequence has more.</summary>
    public long ShardBytes { get; init; } = 256L << 20;

    /// <summary>Sequences to run at once; 0 for as many as fit a moderate memory. Values do not depend on it.</summary>
    public int Batch { get; init; }
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
