using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Llama 1 to 3: RMS norm, rotary with scalings, grouped queries, SwiGLU.</summary>
internal static class Llama
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        if (config.Bool("mlp_bias", false))
        {
            names.AddBiases(MlpInBias, MlpUpBias, MlpOutBias);
        }

        return LlamaLike.Read(config, "llama", names);
    }
}
