using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>OLMo 2: norms after attention and MLP only, and a norm over all query or key heads at once.</summary>
internal static class Olmo2
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.Remove(Ln1Gain);
        names.Remove(Ln2Gain);
        names[Ln1PostGain] = new(LlamaLike.Block + "post_attention_layernorm.weight");
        names[Ln2PostGain] = new(LlamaLike.Block + "post_feedforward_layernorm.weight");
        names.AddQueryKeyNorms();
        ModelDescription model = LlamaLike.Read(config, "olmo2", names, new LlamaLike.Defaults { Epsilon = 1e-5 });
        return model with { Norms = NormPlacement.After, QueryKeyNorm = QueryKeyNorm.AllHeads };
    }
}
