using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Granite: Llama with multipliers on embedding, attention scores, residual additions and logits.</summary>
internal static class Granite
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        if (config.Bool("mlp_bias", false))
        {
            names.AddBiases(MlpInBias, MlpUpBias, MlpOutBias);
        }

        float attention = config.Float("attention_multiplier", 1);
        return LlamaLike.Read(config, "granite", names) with
        {
            EmbeddingScale = config.Float("embedding_multiplier", 1),
            AttentionScale = _ => attention,
            ResidualScale = config.Float("residual_multiplier", 1),
            LogitScale = (float)(1 / (config.OptionalDouble("logits_scaling") ?? 1)),
        };
    }
}
