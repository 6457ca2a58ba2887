using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// What a transformer is, as data: the one forward pass reads it, and a family is a function from config.json to it. Nothing here
/// depends on a device or a file.
/// </summary>
public sealed record ModelDescription
{
    /// <summary>The family's name: <c>model_type</c> in config.json.</summary>
    public required string Family { get; init; }

    /// <summary>Blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Width of the residual stream, d_model.</summary>
    public required int Width { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; fewer than <see cref="Heads"/> with grouped queries.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Channels of a head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Neurons of an MLP.</summary>
    public required int MlpWidth { get; init; }

    /// <summary>Rows of the token embedding.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Positions that the model was made for. A hard limit only with learned positions.</summary>
    public required int Context { get; init; }

    /// <summary>Layer norm or RMS norm, everywhere.</summary>
    public required NormKind Norm { get; init; }

    /// <summary>ε of the norms.</summary>
    public required float Epsilon { get; init; }

    /// <summary>How positions enter.</summary>
    public required PositionEncoding Positions { get; init; }

    /// <summary>What multiplies the dot products of a block's attention, usually 1/√(head size).</summary>
    public required Func<int, float> AttentionScale { get; init; }

    /// <summary>The MLP's non-linearity.</summary>
    public required Activation Activation { get; init; }

    /// <summary>Whether the MLP is <c>act(gate) ⊙ up</c> rather than <c>act(up)</c>.</summary>
    public bool GatedMlp { get; init; }

    /// <summary>Whether attention and MLP both read the block's input and are added together.</summary>
    public bool ParallelBlock { get; init; }

    /// <summary>Whether the unembedding is the token embedding.</summary>
    public bool TiedEmbedding { get; init; }

    /// <summary>Tokens that end a text.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    /// <summary>Where a checkpoint keeps each parameter.</summary>
    public required CheckpointLayout Layout { get; init; }
}

/// <summary>How positions enter a model.</summary>
public abstract record PositionEncoding;

/// <summary>A learned embedding for each position, added to the token embedding.</summary>
public sealed record LearnedPositions : PositionEncoding;

/// <summary>Rotation of queries and keys.</summary>
/// <param name="Pairs">Which channels rotate together.</param>
/// <param name="Frequencies">Inverse frequencies and their scaling.</param>
public sealed record RotaryPositions(RotaryPairs Pairs, RotaryFrequencies Frequencies) : PositionEncoding;
