namespace InterpEngine.Hooks;

/// <summary>What is looked at, in the order of the forward pass. Names and meanings: <see cref="HookKinds"/>.</summary>
public enum HookKind
{
    /// <summary><c>embed.hook_embed</c></summary>
    EncoderEmbed,

    /// <summary><c>embed.hook_token_type_embed</c></summary>
    TokenTypeEmbed,

    /// <summary><c>embed.hook_pos_embed</c></summary>
    EncoderPosEmbed,

    /// <summary><c>embed.ln.hook_scale</c></summary>
    EmbedLnScale,

    /// <summary><c>embed.ln.hook_normalized</c></summary>
    EmbedLnNormalized,

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

    /// <summary><c>blocks.{i}.ln1_post.hook_scale</c></summary>
    Ln1PostScale,

    /// <summary><c>blocks.{i}.ln1_post.hook_normalized</c></summary>
    Ln1PostNormalized,

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

    /// <summary><c>blocks.{i}.mlp.hook_router_logits</c></summary>
    RouterLogits,

    /// <summary><c>blocks.{i}.mlp.hook_expert_indices</c></summary>
    ExpertIndices,

    /// <summary><c>blocks.{i}.mlp.hook_expert_weights</c></summary>
    ExpertWeights,

    /// <summary><c>blocks.{i}.mlp.experts.hook_pre_linear</c></summary>
    ExpertPreLinear,

    /// <summary><c>blocks.{i}.mlp.experts.hook_pre</c></summary>
    ExpertPre,

    /// <summary><c>blocks.{i}.mlp.experts.hook_post</c></summary>
    ExpertPost,

    /// <summary><c>blocks.{i}.mlp.experts.hook_out</c></summary>
    ExpertOut,

    /// <summary><c>blocks.{i}.mlp.hook_pre_linear</c></summary>
    MlpPreLinear,

    /// <summary><c>blocks.{i}.mlp.hook_pre</c></summary>
    MlpPre,

    /// <summary><c>blocks.{i}.mlp.hook_post</c></summary>
    MlpPost,

    /// <summary><c>blocks.{i}.ln2_post.hook_scale</c></summary>
    Ln2PostScale,

    /// <summary><c>blocks.{i}.ln2_post.hook_normalized</c></summary>
    Ln2PostNormalized,

    /// <summary><c>blocks.{i}.hook_mlp_out</c></summary>
    MlpOut,

    /// <summary><c>blocks.{i}.hook_resid_post</c></summary>
    ResidPost,

    /// <summary><c>blocks.{i}.hook_normalized_resid_post</c></summary>
    NormalizedResidPost,

    /// <summary><c>ln_final.hook_scale</c></summary>
    LnFinalScale,

    /// <summary><c>ln_final.hook_normalized</c></summary>
    LnFinalNormalized,

    /// <summary><c>mlm_head.ln.hook_scale</c></summary>
    MlmHeadLnScale,

    /// <summary><c>mlm_head.ln.hook_normalized</c></summary>
    MlmHeadLnNormalized,
}

/// <summary>What one kind of hook point is: the registry that names, help and documentation are read from.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Suffix">Its name, without <c>blocks.{i}.</c> where it belongs to a block.</param>
/// <param name="InBlock">Whether every block has one.</param>
/// <param name="Axes">What the axes are: b batch, p position, d width, h heads, g key/value heads, e head size, c value head
/// size, m MLP width, r experts, x experts of a token, n neurons of an expert, q query
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
        Model(HookKind.EncoderEmbed, "embed.hook_embed", "b p d", "token embedding of an encoder, which norms the sum of its embeddings"),
        Model(HookKind.TokenTypeEmbed, "embed.hook_token_type_embed", "b p d", "embedding of the token's type (first or second sentence)"),
        Model(HookKind.EncoderPosEmbed, "embed.hook_pos_embed", "b p d", "learned position embedding of an encoder"),
        Model(HookKind.EmbedLnScale, "embed.ln.hook_scale", "b p 1", "what the norm of the embedding divides by"),
        Model(HookKind.EmbedLnNormalized, "embed.ln.hook_normalized", "b p d", "the norm of the embedding, before gain and bias"),
        Model(HookKind.Embed, "hook_embed", "b p d", "token embedding, as it enters the residual stream: after its scale, projection or norm"),
        Model(HookKind.PosEmbed, "hook_pos_embed", "b p d", "learned position embedding, as it enters the residual stream"),
        Block(HookKind.ResidPre, "hook_resid_pre", "b p d", "residual stream before the block"),
        Block(HookKind.AttnIn, "hook_attn_in", "b p h d", "the residual stream once for every head, before ln1", flagged: true),
        Block(HookKind.QInput, "hook_q_input", "b p h d", "the same, for the queries alone", flagged: true),
        Block(HookKind.KInput, "hook_k_input", "b p g d", "the same, for the keys alone", flagged: true),
        Block(HookKind.VInput, "hook_v_input", "b p g d", "the same, for the values alone", flagged: true),
        Block(HookKind.Ln1Scale, "ln1.hook_scale", "b p 1",
            "what the norm of attention's input divides by: √(variance + ε) or √(mean square + ε). Where norms stand on the residual stream: "
            + "the norm of hook_resid_mid"),
        Block(HookKind.Ln1Normalized, "ln1.hook_normalized", "b p d", "that norm, before gain and bias"),
        Block(HookKind.Q, "attn.hook_q", "b p h e", "queries with bias, before their norm and rotation"),
        Block(HookKind.K, "attn.hook_k", "b p g e", "keys with bias, before their norm and rotation"),
        Block(HookKind.V, "attn.hook_v", "b p g c", "values with bias"),
        Block(HookKind.RotQ, "attn.hook_rot_q", "b p h e", "queries after norm and rotation: what enters the dot product"),
        Block(HookKind.RotK, "attn.hook_rot_k", "b p g e", "keys after norm and rotation: what enters the dot product"),
        Block(HookKind.AttnScores, "attn.hook_attn_scores", "b h q k", "scores: scaled, soft-capped, with position bias, −∞ where masked"),
        Block(HookKind.Pattern, "attn.hook_pattern", "b h q k",
            "attention pattern: the softmax of the scores (with sinks, rows sum to less than 1)"),
        Block(HookKind.Z, "attn.hook_z", "b p h c", "values mixed by the pattern: input of the output projection"),
        Block(HookKind.Result, "attn.hook_result", "b p h d",
            "each head's part of the output projection, without the bias, before any norm or scale of it", flagged: true),
        Block(HookKind.Ln1PostScale, "ln1_post.hook_scale", "b p 1", "what the norm of attention's output divides by"),
        Block(HookKind.Ln1PostNormalized, "ln1_post.hook_normalized", "b p d", "the norm of attention's output, before gain and bias"),
        Block(HookKind.AttnOut, "hook_attn_out", "b p d", "exactly what attention adds to the residual stream, after any norm and scale"),
        Block(HookKind.ResidMid, "hook_resid_mid", "b p d", "residual stream between attention and MLP"),
        Block(HookKind.MlpIn, "hook_mlp_in", "b p d", "the residual stream as the MLP reads it, before ln2", flagged: true),
        Block(HookKind.Ln2Scale, "ln2.hook_scale", "b p 1",
            "what the norm of the MLP's input divides by; or, on the residual stream, the norm of hook_resid_post"),
        Block(HookKind.Ln2Normalized, "ln2.hook_normalized", "b p d", "that norm, before gain and bias"),
        Block(HookKind.RouterLogits, "mlp.hook_router_logits", "b p r", "the router's score of each expert"),
        Block(HookKind.ExpertIndices, "mlp.hook_expert_indices", "b p x", "the experts that each token goes through, by falling weight"),
        Block(HookKind.ExpertWeights, "mlp.hook_expert_weights", "b p x", "what those experts' outputs are really multiplied by"),
        Block(HookKind.ExpertPreLinear, "mlp.experts.hook_pre_linear", "b p x n",
            "up projection of each chosen expert, in the order of hook_expert_indices"),
        Block(HookKind.ExpertPre, "mlp.experts.hook_pre", "b p x n", "gate of each chosen expert before the activation"),
        Block(HookKind.ExpertPost, "mlp.experts.hook_post", "b p x n", "each chosen expert's neurons: input of its down projection"),
        Block(HookKind.ExpertOut, "mlp.experts.hook_out", "b p x d", "each chosen expert's output, before its weight"),
        Block(HookKind.MlpPreLinear, "mlp.hook_pre_linear", "b p m", "up projection of a gated MLP: what the gate multiplies"),
        Block(HookKind.MlpPre, "mlp.hook_pre", "b p m", "neurons before the activation; the gate of a gated MLP"),
        Block(HookKind.MlpPost, "mlp.hook_post", "b p m", "neurons after the activation (and the gate): input of the down projection"),
        Block(HookKind.Ln2PostScale, "ln2_post.hook_scale", "b p 1", "what the norm of the MLP's output divides by"),
        Block(HookKind.Ln2PostNormalized, "ln2_post.hook_normalized", "b p d", "the norm of the MLP's output, before gain and bias"),
        Block(HookKind.MlpOut, "hook_mlp_out", "b p d", "exactly what the MLP adds to the residual stream, after any norm and scale"),
        Block(HookKind.ResidPost, "hook_resid_post", "b p d",
            "residual stream after the block (before the block's second norm, where it stands on the stream)"),
        Block(HookKind.NormalizedResidPost, "hook_normalized_resid_post", "b p d",
            "the normed residual stream after the block: what the next block reads, where norms stand on the stream"),
        Model(HookKind.LnFinalScale, "ln_final.hook_scale", "b p 1", "what the final norm divides by"),
        Model(HookKind.LnFinalNormalized, "ln_final.hook_normalized", "b p d", "the final norm, before gain and bias"),
        Model(HookKind.MlmHeadLnScale, "mlm_head.ln.hook_scale", "b p 1", "what the norm of the masked-language-model head divides by"),
        Model(HookKind.MlmHeadLnNormalized, "mlm_head.ln.hook_normalized", "b p d", "that norm, before gain and bias"),
    ];

    /// <summary>The entry of a kind.</summary>
    public static HookKindInfo Info(this HookKind kind) => All[(int)kind];

    private static HookKindInfo Model(HookKind kind, string name, string axes, string meaning) =>
        new(kind, name, InBlock: false, axes, Flagged: false, meaning);

    private static HookKindInfo Block(HookKind kind, string suffix, string axes, string meaning, bool flagged = false) =>
        new(kind, suffix, InBlock: true, axes, flagged, meaning);
}
