namespace InterpEngine.Dictionaries;

/// <summary>A place where a feature was active: some tokens of a sequence around its peak there.</summary>
/// <param name="Value">The activation at the peak.</param>
/// <param name="Sequence">Which sequence, counted from 0.</param>
/// <param name="Position">The peak's position in it.</param>
/// <param name="First">The position of the first token shown.</param>
/// <param name="Tokens">The tokens shown.</param>
/// <param name="Activations">The feature's activation at each of them.</param>
public sealed record FeatureExample(
    float Value, long Sequence, int Position, int First, IReadOnlyList<int> Tokens, IReadOnlyList<float> Activations);

/// <summary>How much of the texts is kept of each feature.</summary>
public sealed record ActivityOptions
{
    /// <summary>Examples of each feature where it is most active.</summary>
    public int Top { get; init; } = 10;

    /// <summary>Examples drawn at random from all sequences in which it is active: what the strongest ones hide.</summary>
    public int Drawn { get; init; } = 5;

    /// <summary>Tokens shown before the peak at most.</summary>
    public int Before { get; init; } = 20;

    /// <summary>And after it.</summary>
    public int After { get; init; } = 8;

    /// <summary>Of the draw.</summary>
    public int Seed { get; init; }
}
