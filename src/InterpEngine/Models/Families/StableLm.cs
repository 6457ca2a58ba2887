using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>StableLM 2: layer norm with SwiGLU, partial rotary; sequential, or parallel with one norm.</summary>
internal static class StableLm
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names(normBias: true);
        if (config.Bool("use_qkv_bias", false))
        {
            names.AddBiases(QBias, KBias, VBias);
        }

        bool normed = config.Bool("qk_layernorm", false), parallel = config.Bool("use_parallel_residual", false);
        if (normed)
        {
            names.AddQueryKeyNorms("q_layernorm.norms.{h}", "k_layernorm.norms.{h}");
        }

        if (parallel)
        {
            names.Remove(Ln2Gain);
            names.Remove(Ln2Bias);
        }

        var defaults = new LlamaLike.Defaults
        {
            Norm = NormKind.Layer,
            EpsilonKey = "layer_norm_eps",
            Epsilon = 1e-5,
            Rotated = 0.25,
        };
        return LlamaLike.Read(config, "stablelm", names, defaults) with
        {
            ParallelBlock = parallel,
            SharedNorm = parallel,
            QueryKeyNorm = normed ? QueryKeyNorm.PerHeadOwnGain : QueryKeyNorm.None,
        };
    }
}
