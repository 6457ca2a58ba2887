using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Cohere (Command R): parallel blocks with one norm, layer norm without bias, interleaved rotary, a logit scale.</summary>
internal static class Cohere
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.Remove(Ln2Gain);
        bool normed = config.Bool("use_qk_norm", false);
        if (normed)
        {
            names.AddQueryKeyNorms();
        }

        var defaults = new LlamaLike.Defaults
        {
            Norm = NormKind.Layer,
            EpsilonKey = "layer_norm_eps",
            Epsilon = 1e-5,
            Pairs = RotaryPairs.Interleaved,
            Tied = true,
        };
        return LlamaLike.Read(config, "cohere", names, defaults) with
        {
            ParallelBlock = true,
            SharedNorm = true,
            QueryKeyNorm = normed ? QueryKeyNorm.PerHeadOwnGain : QueryKeyNorm.None,
            LogitScale = config.Float("logit_scale", 0.0625),
        };
    }
}
