namespace InterpEngine.Models;

/// <summary>How a model is kept on its device.</summary>
public sealed record LoadOptions
{
    /// <summary>Other weights of the same function, as TransformerLens makes them; none unless set.</summary>
    public WeightProcessing Processing { get; init; }
}
