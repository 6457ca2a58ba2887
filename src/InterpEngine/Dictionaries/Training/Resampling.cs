namespace InterpEngine.Dictionaries.Training;

/// <summary>Whose rule dead features are given new directions by. Both draw rows without replacement, the worse reconstructed the likelier, and
/// forget biases and moments.</summary>
public enum ResamplingRule
{
    /// <summary>dictionary_learning: as likely as ‖e‖; the encoder's row is the row times a fifth of the living ones' mean norm.</summary>
    DictionaryLearning,

    /// <summary>Towards Monosemanticity (Bricken et al., 2023): as likely as ‖e‖⁴, the loss's square; the encoder's row has a fifth of the living
    /// ones' mean norm.</summary>
    Anthropic,
}

/// <summary>How features that have not been active for long get new directions from rows of the batch.</summary>
public sealed record Resampling
{
    /// <summary>Whose rule.</summary>
    public ResamplingRule Rule { get; init; }

    /// <summary>Steps from one time to the next.</summary>
    public int Every { get; init; } = 3000;

    /// <summary>The step of each such period, counted from 0, after which it happens.</summary>
    public int Phase { get; init; }

    /// <summary>After how many steps or rows (<see cref="TrainingOptions.DeadCount"/>) without activity a feature gets a new direction:
    /// when it is more than this.</summary>
    public long DeadWindow { get; init; } = 1500;

    /// <summary>The share of the living encoder rows' mean norm.</summary>
    public double EncoderScale { get; init; } = 0.2;

    internal bool IsDue(int step) => Every > 0 && step % Every == Phase;
}
