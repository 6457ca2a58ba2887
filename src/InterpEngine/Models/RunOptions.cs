using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>Which logits a run computes.</summary>
public enum LogitsWanted
{
    /// <summary>None: the unembedding is skipped.</summary>
    None,

    /// <summary>Those of each sequence's last real token: [batch, 1, vocabulary].</summary>
    Last,

    /// <summary>All: [batch, positions, vocabulary], zero at padding.</summary>
    All,
}

/// <summary>What a run computes and what it shows.</summary>
public sealed record RunOptions
{
    /// <summary>The points to capture. What is captured is what the run went on with: after any callback.</summary>
    public HookSelection Capture { get; init; } = HookSelection.None;

    /// <summary>Callbacks, in the order in which they are called at a point.</summary>
    public IReadOnlyList<Hook> Hooks { get; init; } = [];

    /// <summary>Which positions to keep of every captured value; null for all. Attention scores and patterns keep those queries.</summary>
    public Range? Positions { get; init; }

    /// <summary>Whether captured values lose their batch axis, which must then have one sequence.</summary>
    public bool RemoveBatch { get; init; }

    /// <summary>Which logits to compute.</summary>
    public LogitsWanted Logits { get; init; } = LogitsWanted.All;

    /// <summary>What to read off the logits without keeping them; null for nothing.</summary>
    public PredictionOptions? Predictions { get; init; }

    /// <summary>Whether to compute the mean cross-entropy of the next tokens, or of <see cref="Labels"/>, over the real tokens.</summary>
    public bool Loss { get; init; }

    /// <summary>
    /// [batch · positions]: the token that each position ought to predict, negative for none; null for the next token. An encoder, which
    /// predicts what stands behind a mask, needs them for a loss.
    /// </summary>
    public IReadOnlyList<int>? Labels { get; init; }

    /// <summary>
    /// The first block that is not run, counted from the end if negative; the run then ends with the residual stream before it. Null
    /// for all blocks.
    /// </summary>
    public int? StopAtLayer { get; init; }

    /// <summary>The first block that is run, counted from the end if negative. Needs <see cref="Residual"/>.</summary>
    public int? StartAtLayer { get; init; }

    /// <summary>[batch, positions, d]: the residual stream before <see cref="StartAtLayer"/>. It stays the caller's.</summary>
    public Tensor? Residual { get; init; }

    /// <summary>The tokens before these, as earlier runs left them; these are added to it.</summary>
    public KeyValueCache? Cache { get; init; }
}
