namespace InterpEngine.Models;

/// <summary>The parameters of a transformer as the engine knows them.</summary>
public enum Parameter
{
    /// <summary>Token embedding [vocabulary, d].</summary>
    TokenEmbedding,

    /// <summary>Position embedding [context, d].</summary>
    PositionEmbedding,

    /// <summary>Gain of the norm before attention [d].</summary>
    Ln1Gain,

    /// <summary>Bias of the norm before attention [d].</summary>
    Ln1Bias,

    /// <summary>Query projection d → heads × head size.</summary>
    QWeight,

    /// <summary>Its bias.</summary>
    QBias,

    /// <summary>Key projection d → kv heads × head size.</summary>
    KWeight,

    /// <summary>Its bias.</summary>
    KBias,

    /// <summary>Value projection d → kv heads × head size.</summary>
    VWeight,

    /// <summary>Its bias.</summary>
    VBias,

    /// <summary>Output projection heads × head size → d.</summary>
    OWeight,

    /// <summary>Its bias.</summary>
    OBias,

    /// <summary>Gain of the norm before the MLP [d].</summary>
    Ln2Gain,

    /// <summary>Bias of the norm before the MLP [d].</summary>
    Ln2Bias,

    /// <summary>MLP d → neurons, before the activation: the gate of a gated MLP.</summary>
    MlpInWeight,

    /// <summary>Its bias.</summary>
    MlpInBias,

    /// <summary>The linear half of a gated MLP, d → neurons.</summary>
    MlpUpWeight,

    /// <summary>Its bias.</summary>
    MlpUpBias,

    /// <summary>MLP neurons → d.</summary>
    MlpOutWeight,

    /// <summary>Its bias.</summary>
    MlpOutBias,

    /// <summary>Gain of the final norm [d].</summary>
    LnFinalGain,

    /// <summary>Bias of the final norm [d].</summary>
    LnFinalBias,

    /// <summary>Unembedding d → vocabulary.</summary>
    UnembedWeight,

    /// <summary>Its bias.</summary>
    UnembedBias,
}

/// <summary>Where a checkpoint keeps one parameter.</summary>
/// <param name="Name">The tensor's name; <c>{i}</c> stands for the block.</param>
/// <param name="InputsFirst">Whether the matrix is stored [inputs, outputs] (GPT-2's Conv1D) rather than [outputs, inputs].</param>
/// <param name="Part">Which outputs of a fused tensor are meant; null for all.</param>
public sealed record ParameterSource(string Name, bool InputsFirst = false, FusedPart? Part = null);

/// <summary>
/// A part of a fused tensor's outputs: from each of <paramref name="Groups"/> equal groups, <paramref name="Size"/> outputs from
/// <paramref name="Start"/> on. GPT-2 fuses q, k and v in one group; GPT-NeoX in one group for every head.
/// </summary>
/// <param name="Groups">Groups in the tensor.</param>
/// <param name="GroupSize">Outputs in a group.</param>
/// <param name="Start">First output of the part within a group.</param>
/// <param name="Size">Outputs of the part within a group.</param>
public sealed record FusedPart(int Groups, int GroupSize, int Start, int Size);

/// <summary>Where a family's checkpoints keep their parameters. A parameter that is not listed does not exist in the model.</summary>
public sealed record CheckpointLayout
{
    /// <summary>The parameters. A tied unembedding is listed too: some checkpoints store it again.</summary>
    public required IReadOnlyDictionary<Parameter, ParameterSource> Parameters { get; init; }

    /// <summary>What published checkpoints put before all names but the unembedding's, likeliest first, such as <c>transformer.</c>.</summary>
    public required IReadOnlyList<string> Prefixes { get; init; }

    /// <summary>
    /// Names, with <c>{i}</c> and without prefix, of tensors that some checkpoints contain and that are no parameters: mask buffers,
    /// rotary frequencies.
    /// </summary>
    public IReadOnlyList<string> Ignored { get; init; } = [];
}
