namespace InterpEngine.Models;

/// <summary>The parameters of a transformer as the engine knows them.</summary>
public enum Parameter
{
    /// <summary>Token embedding [vocabulary, d].</summary>
    TokenEmbedding,

    /// <summary>Position embedding [context, d].</summary>
    PositionEmbedding,

    /// <summary>Embedding of each kind of token [types, d].</summary>
    TokenTypeEmbedding,

    /// <summary>Gain of the norm after the embedding [d].</summary>
    EmbeddingNormGain,

    /// <summary>Its bias.</summary>
    EmbeddingNormBias,

    /// <summary>Projection of the token embedding to the residual stream, embedding width → d.</summary>
    EmbeddingProjection,

    /// <summary>Projection of the final norm's output to the unembedding, d → embedding width.</summary>
    UnembeddingProjection,

    /// <summary>Gain of the norm before attention, or of the norm on the residual stream after it [d].</summary>
    Ln1Gain,

    /// <summary>Bias of the norm before attention [d].</summary>
    Ln1Bias,

    /// <summary>Gain of the norm of what attention writes [d].</summary>
    Ln1PostGain,

    /// <summary>Its bias.</summary>
    Ln1PostBias,

    /// <summary>Projection d → the narrow vector that queries come from (latent attention).</summary>
    QDownWeight,

    /// <summary>Its bias.</summary>
    QDownBias,

    /// <summary>Gain of that vector's norm.</summary>
    QDownGain,

    /// <summary>Projection d → the narrow vector that keys and values come from.</summary>
    KeyValueDownWeight,

    /// <summary>Its bias.</summary>
    KeyValueDownBias,

    /// <summary>Gain of that vector's norm.</summary>
    KeyValueDownGain,

    /// <summary>Projection d → the part of a key that all heads share.</summary>
    SharedKeyWeight,

    /// <summary>Its bias.</summary>
    SharedKeyBias,

    /// <summary>Query projection d (or narrow vector) → heads × head size.</summary>
    QWeight,

    /// <summary>Its bias.</summary>
    QBias,

    /// <summary>Key projection d → kv heads × head size (latent: narrow vector → heads × unshared channels).</summary>
    KWeight,

    /// <summary>Its bias.</summary>
    KBias,

    /// <summary>Value projection d (or narrow vector) → kv heads × value size.</summary>
    VWeight,

    /// <summary>Its bias.</summary>
    VBias,

    /// <summary>Gain of the queries' norm.</summary>
    QNormGain,

    /// <summary>Its bias.</summary>
    QNormBias,

    /// <summary>Gain of the keys' norm.</summary>
    KNormGain,

    /// <summary>Its bias.</summary>
    KNormBias,

    /// <summary>Each head's additional score [heads].</summary>
    Sinks,

    /// <summary>Output projection heads × value size → d.</summary>
    OWeight,

    /// <summary>Its bias.</summary>
    OBias,

    /// <summary>Gain of the norm before the MLP, or of the norm on the residual stream after it [d].</summary>
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

    /// <summary>The router of a mixture, d → experts.</summary>
    RouterWeight,

    /// <summary>Its bias.</summary>
    RouterBias,

    /// <summary>What is added to the experts' scores for the choice alone [experts].</summary>
    RouterCorrection,

    /// <summary>An expert's projection d → its neurons: the gate.</summary>
    ExpertInWeight,

    /// <summary>Its bias.</summary>
    ExpertInBias,

    /// <summary>The linear half of an expert's gate, d → its neurons.</summary>
    ExpertUpWeight,

    /// <summary>Its bias.</summary>
    ExpertUpBias,

    /// <summary>An expert's neurons → d.</summary>
    ExpertOutWeight,

    /// <summary>Its bias.</summary>
    ExpertOutBias,

    /// <summary>The shared expert's projection d → its neurons: the gate.</summary>
    SharedInWeight,

    /// <summary>The linear half of the shared expert's gate, d → its neurons.</summary>
    SharedUpWeight,

    /// <summary>The shared expert's neurons → d.</summary>
    SharedOutWeight,

    /// <summary>The score whose sigmoid multiplies the shared expert's output, d → 1.</summary>
    SharedGateWeight,

    /// <summary>Gain of the norm of what the MLP writes [d].</summary>
    Ln2PostGain,

    /// <summary>Its bias.</summary>
    Ln2PostBias,

    /// <summary>Projection before the final norm, d → d.</summary>
    HeadWeight,

    /// <summary>Its bias.</summary>
    HeadBias,

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
/// <param name="Name">The tensor's name; <c>{i}</c> stands for the block, <c>{e}</c> for the expert and <c>{h}</c> for a head of a parameter
/// kept head by head. An expert's parameter without <c>{e}</c> is kept with those of all experts, along a first axis.</param>
/// <param name="InputsFirst">Whether the matrix is stored [inputs, outputs] (GPT-2's Conv1D) rather than [outputs, inputs].</param>
/// <param name="Part">Which outputs of a fused tensor are meant; null for all.</param>
/// <param name="Outside">Whether the name never has the checkpoint's prefix.</param>
public sealed record ParameterSource(string Name, bool InputsFirst = false, FusedPart? Part = null, bool Outside = false);

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

    /// <summary>What published checkpoints put before the names, likeliest first, such as <c>transformer.</c>.</summary>
    public required IReadOnlyList<string> Prefixes { get; init; }

    /// <summary>
    /// Names, with <c>{i}</c> and without prefix, of tensors that some checkpoints contain and that are no parameters: mask buffers,
    /// rotary frequencies. A name that ends in <c>*</c> stands for all that begin so.
    /// </summary>
    public IReadOnlyList<string> Ignored { get; init; } = [];

    /// <summary>Ends of names as old checkpoints spell them, and as <see cref="Parameters"/> does.</summary>
    public IReadOnlyList<(string Old, string New)> Renamed { get; init; } = [];
}
