using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>OLMo: layer norms without parameters; queries, keys and values may be clamped.</summary>
internal static class Olmo
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.Remove(Ln1Gain);
        names.Remove(Ln2Gain);
        names.Remove(LnFinalGain);
        ModelDescription model = LlamaLike.Read(config, "olmo", names, new LlamaLike.Defaults { Norm = NormKind.Layer });

        // The norms' ε is a constant of the architecture.
        return model with { Epsilon = 1e-5f, QueryKeyValueLimit = Limit(config) };
    }

    /// <summary><c>clip_qkv</c>; 0 for none.</summary>
    public static float Limit(ConfigFile config) => config.OptionalDouble("clip_qkv") switch
    {
        null => 0,
        > 0 and var limit => (float)limit,
        _ => throw config.Unexpected("clip_qkv", "a positive number or null"),
    };
}
