using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Qwen2-MoE: Qwen2 with experts in some blocks and a gated expert that all tokens go through.</summary>
internal static class Qwen2Moe
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        if (config.Bool("qkv_bias", true))
        {
            names.AddBiases(QBias, KBias, VBias);
        }

        names.AddExperts();
        names[SharedInWeight] = new(LlamaLike.Mlp + "shared_expert.gate_proj.weight");
        names[SharedUpWeight] = new(LlamaLike.Mlp + "shared_expert.up_proj.weight");
        names[SharedOutWeight] = new(LlamaLike.Mlp + "shared_expert.down_proj.weight");
        names[SharedGateWeight] = new(LlamaLike.Mlp + "shared_expert_gate.weight");
        ModelDescription model = LlamaLike.Read(config, "qwen2_moe", names);
        int window = Qwen2.Window(config), last = config.OptionalInt("max_window_layers", minimum: 0) ?? 28;
        return model with
        {
            // Here, unlike in Qwen2, max_window_layers counts the blocks that may have a window: every second of the lower ones.
            Window = config.Windows(model.Layers, window, layer => window > 0 && layer % 2 == 0 && layer < last),
            Experts = Experts(config, perToken: 4) with
            {
                SharedWidth = config.Int("shared_expert_intermediate_size"),
                SharedGate = true,
            },
        };
    }

    /// <summary>The mixture of Qwen2-MoE and Qwen3-MoE.</summary>
    public static ExpertMixture Experts(ConfigFile config, int perToken)
    {
        int step = config.OptionalInt("decoder_sparse_step") ?? 1;
        HashSet<int> dense = config.Has("mlp_only_layers") ? [.. config.Ints("mlp_only_layers")] : [];
        return new ExpertMixture
        {
            Count = config.Int("num_experts", "num_local_experts"),
            PerToken = config.OptionalInt("num_experts_per_tok") ?? perToken,
            Width = config.Int("moe_intermediate_size"),
            Score = RouterScore.Softmax,
            Renormalize = config.Bool("norm_topk_prob", false),
            InLayer = layer => !dense.Contains(layer) && (layer + 1) % step == 0,
        };
    }
}
