namespace InterpEngine.Hooks;

/// <summary>What is looked at, in the order of the forward pass. Names and meanings: <see cref="HookKinds"/>.</summary>
public enum HookKind
{
    /// <summary><c>hook_embed</c></summary>
    Embed,

    /// <summary><c>hook_pos_embed</c></summary>
    PosEmbed,

    /// <summary><c>blocks.{i}.hook_resid_pre</c></summary>
    ResidPre,

    /// <summary><c>blocks.{i}.hook_attn_in</c></summary>
    AttnIn,

    /// <summary><c>blocks.{i}.hook_q_input</c></summary>
    QInput,

    /// <summary><c>blocks.{i}.hook_k_input</c></summary>
    KInput,

    /// <summary><c>blocks.{i}.hook_v_input</c></summary>
    VInput,

    /// <summary><c>blocks.{i}.ln1.hook_scale</c></summary>
    Ln1Scale,

    /// <summary><c>blocks.{i}.ln1.hook_normalized</c></summary>
    Ln1Normalized,

    /// <summary><c>blocks.{i}.attn.hook_q</c></summary>
    Q,

    /// <summary><c>blocks.{i}.attn.hook_k</c></summary>
    K,

    /// <summary><c>blocks.{i}.attn.hook_v</c></summary>
    V,

    /// <summary><c>blocks.{i}.attn.hook_rot_q</c></summary>
    RotQ,

    /// <summary><c>blocks.{i}.attn.hook_rot_k</c></summary>
    RotK,

    /// <summary><c>blocks.{i}.attn.hook_attn_scores</c></summary>
    AttnScores,

    /// <summary><c>blocks.{i}.attn.hook_pattern</c></summary>
    Pattern,

    /// <summary><c>blocks.{i}.attn.hook_z</c></summary>
    Z,

    /// <summary><c>blocks.{i}.attn.hook_result</c></summary>
    Result,

    /// <summary><c>blocks.{i}.hook_attn_out</c></summary>
    AttnOut,

    /// <summary><c>blocks.{i}.hook_resid_mid</c></summary>
    ResidMid,

    /// <summary><c>blocks.{i}.hook_mlp_in</c></summary>
    MlpIn,

    /// <summary><c>blocks.{i}.ln2.hook_scale</c></summary>
    Ln2Scale,

    /// <summary><c>blocks.{i}.ln2.hook_normalized</c></summary>
    Ln2Normalized,

    /// <summary><c>blocks.{i}.mlp.hook_pre_linear</c></summary>
    MlpPreLinear,

    /// <summary><c>blocks.{i}.mlp.hook_pre</c></summary>
    MlpPre,

    /// <summary><c>blocks.{i}.mlp.hook_post</c></summary>
    MlpPost,

    /// <summary><c>blocks.{i}.hook_mlp_out</c></summary>
    MlpOut,

    /// <summary><c>blocks.{i}.hook_resid_post</c></summary>
    ResidPost,

    /// <summary><c>ln_final.hook_scale</c></summary>
    LnFinalScale,

    /// <summary><c>ln_final.hook_normalized</c></summary>
    LnFinalNormalized,
}

/// <summary>What one kind of hook point is: the registry that names, help and documentation are read from.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Suffix">Its name, without <c>blocks.{i}.</c> where it belongs to a block.</param>
/// <param name="InBlock">Whether every block has one.</param>
/// <param name="Axes">What the axes are: b batch, p position, d width, h heads, g key/value heads, e head size, m MLP width, q query
/// position, k key position.</param>
/// <param name="Flagged">Whether it costs memory of a size that nothing else has (TransformerLens has it only by a flag).</param>
/// <param name="Meaning">What it holds.</param>
public sealed record HookKindInfo(HookKind Kind, string Suffix, bool InBlock, string Axes, bool Flagged, string Meaning);

/// <summary>The registry of hook kinds.</summary>
public static class HookKinds
{
    /// <summary>Every kind, in the order of the forward pass; the index is the kind.</summary>
    public static IReadOnlyList<HookKindInfo> All { get; } =
    [
        Model(HookKind.Embed, "hook_embed", "b p d", "token embedding, as it enters the residual stream"),
        Model(HookKind.PosEmbed, "hook_pos_embed", "b p d", "learned position embedding, as it enters the residual stream"),
        Block(HookKind.ResidPre, "hook_resid_pre", "b p d", "residual stream before the block"),
        Block(HookKind.AttnIn, "hook_attn_in", "b p h d", "the residual stream once for every head, before ln1", flagged: true),
        Block(HookKind.QInput, "hook_q_input", "b p h d", "the same, for the queries alone", flagged: true),
        Block(HookKind.KInput, "hook_k_input", "b p g d", "the same, for the keys alone", flagged: true),
        Block(HookKind.VInput, "hook_v_input", "b p g d", "the same, for the values alone", flagged: true),
        Block(HookKind.Ln1Scale, "ln1.hook_scale", "b p 1", "what the norm before attention divides by: √(variance + ε) or √(mean square + ε)"),
        Block(HookKind.Ln1Normalized, "ln1.hook_normalized", "b p d", "the norm before attention, before gain and bias"),
        Block(HookKind.Q, "attn.hook_q", "b p h e", "queries with bias, before rotation"),
        Block(HookKind.K, "attn.hook_k", "b p g e", "keys with bias, before rotation"),
        Block(HookKind.V, "attn.hook_v", "b p g e", "values with bias"),
        Block(HookKind.RotQ, "attn.hook_rot_q", "b p h e", "queries after rotation: what enters the dot product"),
        Block(HookKind.RotK, "attn.hook_rot_k", "b p g e", "keys after rotation: what enters the dot product"),
        Block(HookKind.AttnScores, "attn.hook_attn_scores", "b h q k", "scaled scores, −∞ where masked"),
        Block(HookKind.Pattern, "attn.hook_pattern", "b h q k", "attention pattern: the softmax of the scores"),
        Block(HookKind.Z, "attn.hook_z", "b p h e", "values mixed by the pattern: input of the output projection"),
        Block(HookKind.Result, "attn.hook_result", "b p h d", "what each head writes to the residual stream, without the bias", flagged: true),
        Block(HookKind.AttnOut, "hook_attn_out", "b p d", "exactly what attention adds to the residual stream"),
        Block(HookKind.ResidMid, "hook_resid_mid", "b p d", "residual stream between attention and MLP"),
        Block(HookKind.MlpIn, "hook_mlp_in", "b p d", "the residual stream as the MLP reads it, before ln2", flagged: true),
        Block(HookKind.Ln2Scale, "ln2.hook_scale", "b p 1", "what the norm before the MLP divides by"),
        Block(HookKind.Ln2Normalized, "ln2.hook_normalized", "b p d", "the norm before the MLP, before gain and bias"),
        Block(HookKind.MlpPreLinear, "mlp.hook_pre_linear", "b p m", "up projection of a gated MLP: what the gate multiplies"),
        Block(HookKind.MlpPre, "mlp.hook_pre", "b p m", "neurons before the activation; the gate of a gated MLP"),
        Block(HookKind.MlpPost, "mlp.hook_post", "b p m", "neurons after the activation (and the gate): input of the down projection"),
        Block(HookKind.MlpOut, "hook_mlp_out", "b p d", "exactly what the MLP adds to the residual stream"),
        Block(HookKind.ResidPost, "hook_resid_post", "b p d", "residual stream after the block"),
        Model(HookKind.LnFinalScale, "ln_final.hook_scale", "b p 1", "what the final norm divides by"),
        Model(HookKind.LnFinalNormalized, "ln_final.hook_normalized", "b p d", "the final norm, before gain and bias"),
    ];

    /// <summary>The entry of a kind.</summary>
    public static HookKindInfo Info(this HookKind kind) => All[(int)kind];

    private static HookKindInfo Model(HookKind kind, string name, string axes, string meaning) =>
        new(kind, name, InBlock: false, axes, Flagged: false, meaning);

    private static HookKindInfo Block(HookKind kind, string suffix, string axes, string meaning, bool flagged = false) =>
        new(kind, suffix, InBlock: true, axes, flagged, meaning);
}
