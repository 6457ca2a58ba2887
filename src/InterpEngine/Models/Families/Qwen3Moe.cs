using InterpEngine.Formats;

namespace InterpEngine.Models.Families;

/// <summary>Qwen3-MoE: Qwen3 with experts in some blocks.</summary>
internal static class Qwen3Moe
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.AddQueryKeyNorms();
        names.AddExperts();
        int window = Qwen2.Window(config);
        return LlamaLike.Read(config, "qwen3_moe", names) with
        {
            QueryKeyNorm = QueryKeyNorm.PerHead,
            Window = _ => window,
            Experts = Qwen2Moe.Experts(config, perToken: 8),
        };
    }
}
