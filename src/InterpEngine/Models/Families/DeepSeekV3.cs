using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>DeepSeek-V3: latent attention, experts chosen by group with a correction, a shared expert, dense blocks first.</summary>
internal static class DeepSeekV3
{
    public static ModelDescription Read(ConfigFile config)
    {
        int layers = config.Int("num_hidden_layers"), width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        int own = config.Int("qk_nope_head_dim"), rotated = config.Int("qk_rope_head_dim"), values = config.Int("v_head_dim");
        int queryRank = config.OptionalInt("q_lora_rank") ?? 0, keyRank = config.Int("kv_lora_rank");
        int context = config.Int("max_position_embeddings"), dense = config.OptionalInt("first_k_dense_replace", minimum: 0) ?? 3;
        if (config.KeyValueHeads(heads) != heads)
        {
            throw config.Unexpected("num_key_value_heads", $"as many as attention heads, {heads}");
        }

        CheckConstants(config, own + rotated, rotated);
        RotaryFrequencies frequencies = RotaryFrequencies.Read(config, rotated, 1, context);
        float scale = (float)(Stretch(config) / Math.Sqrt(own + rotated));
        return new ModelDescription
        {
            Family = "deepseek_v3",
            Layers = layers,
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = own + rotated,
            ValueSize = values,
            MlpWidth = config.Int("intermediate_size"),
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Rms,
            Epsilon = config.Float("rms_norm_eps", 1e-6),
            Positions = new RotaryPositions(
                config.Bool("rope_interleave", true) ? RotaryPairs.InterleavedToHalves : RotaryPairs.Halves, frequencies)
            {
                Start = own,
            },
            AttentionScale = _ => scale,

            // The narrow vectors' norms have an ε of their own, a constant of the architecture.
            Latent = new LatentAttention(queryRank, keyRank, rotated, Epsilon: 1e-6f),
            Activation = config.Activation("hidden_act", "silu"),
            GatedMlp = true,
            Experts = Experts(config, dense),
            TiedEmbedding = config.Bool("tie_word_embeddings", false),
            EndTokens = config.EndTokens(),
            Layout = Layout(layers, heads, queryRank, keyRank, own, rotated, values, config.Bool("attention_bias", false)),
        };
    }

    /// <summary>Settings that say what the engine knows anyway.</summary>
    private static void CheckConstants(ConfigFile config, int headSize, int rotated)
    {
        Only("scoring_func", "sigmoid");
        Only("topk_method", "noaux_tc");
        foreach ((string key, int value) in
            (ReadOnlySpan<(string, int)>)[("qk_head_dim", headSize), ("head_dim", rotated), ("moe_layer_freq", 1)])
        {
            if (config.OptionalInt(key) is { } given && given != value)
            {
                throw config.Unexpected(key, $"{value}");
            }
        }

        void Only(string key, string value)
        {
            if (config.OptionalString(key) is { } given && given != value)
            {
                throw config.Unexpected(key, $"'{value}'");
            }
        }
    }

    /// <summary>YaRN's mscale_all_dim stretches the scores.</summary>
    private static double Stretch(ConfigFile config)
    {
        string? name = config.Has("rope_parameters") ? "rope_parameters" : config.Has("rope_scaling") ? "rope_scaling" : null;
        ConfigFile? settings = name is null ? null : config.Object(name);
        double all = settings?.OptionalDouble("mscale_all_dim") ?? 0, factor = settings?.OptionalDouble("factor") ?? 1;
        double stretch = all == 0 || factor <= 1 ? 1 : 0.1 * all * Math.Log(factor) + 1;
        return stretch * stretch;
    }

    private static ExpertMixture Experts(ConfigFile config, int dense)
    {
        int count = config.Int("n_routed_experts", "num_local_experts"), groups = config.OptionalInt("n_group") ?? 8;
        int chosen = config.OptionalInt("topk_group") ?? 4, width = config.Int("moe_intermediate_size");
        if (count % groups != 0 || count / groups < 2 || chosen > groups)
        {
            throw config.Unexpected("n_group", $"a divisor of the {count} experts with at least two in a group, and not less than topk_group");
        }

        return new ExpertMixture
        {
            Count = count,
            PerToken = config.Int("num_experts_per_tok"),
            Width = width,
            Score = RouterScore.Sigmoid,
            Groups = groups,
            GroupsPerToken = chosen,
            Renormalize = config.Bool("norm_topk_prob", true),
            Scale = config.Float("routed_scaling_factor", 2.5),
            SharedWidth = width * (config.OptionalInt("n_shared_experts") ?? 1),
            InLayer = layer => layer >= dense,
        };
    }

    private static CheckpointLayout Layout(
        int layers, int heads, int queryRank, int keyRank, int own, int rotated, int values, bool attentionBias)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        names.AddExperts();
        names[RouterCorrection] = new(LlamaLike.Mlp + "gate.e_score_correction_bias");
        names[SharedInWeight] = new(LlamaLike.Mlp + "shared_experts.gate_proj.weight");
        names[SharedUpWeight] = new(LlamaLike.Mlp + "shared_experts.up_proj.weight");
        names[SharedOutWeight] = new(LlamaLike.Mlp + "shared_experts.down_proj.weight");
        names[KeyValueDownWeight] = new(LlamaLike.Attention + "kv_a_proj_with_mqa.weight", Part: new FusedPart(1, keyRank + rotated, 0, keyRank));
        names[SharedKeyWeight] = names[KeyValueDownWeight] with { Part = new FusedPart(1, keyRank + rotated, keyRank, rotated) };
        names[KeyValueDownGain] = new(LlamaLike.Attention + "kv_a_layernorm.weight");
        names[KWeight] = new(LlamaLike.Attention + "kv_b_proj.weight", Part: new FusedPart(heads, own + values, 0, own));
        names[VWeight] = names[KWeight] with { Part = new FusedPart(heads, own + values, own, values) };
        if (queryRank > 0)
        {
            names[QDownWeight] = new(LlamaLike.Attention + "q_a_proj.weight");
            names[QDownGain] = new(LlamaLike.Attention + "q_a_layernorm.weight");
            names[QWeight] = new(LlamaLike.Attention + "q_b_proj.weight");
        }

        if (attentionBias)
        {
            names.AddBiases(queryRank > 0 ? [QDownBias, KeyValueDownBias, SharedKeyBias, OBias] : [KeyValueDownBias, SharedKeyBias, OBias]);
        }

        // Published checkpoints hold one block more, which predicts the token after next.
        return LlamaLike.Layout(names) with { Ignored = [LlamaLike.Attention + "rotary_emb.inv_freq", $"layers.{layers}.*"] };
    }
}
