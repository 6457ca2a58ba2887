using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Phi 1 to 2: parallel blocks with one norm, partial rotary, biases everywhere.</summary>
internal static class Phi
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        names.Remove(Ln2Gain);
        names.Remove(MlpUpWeight);
        names[OWeight] = new(LlamaLike.Attention + "dense.weight");
        names[MlpInWeight] = new(LlamaLike.Mlp + "fc1.weight");
        names[MlpOutWeight] = new(LlamaLike.Mlp + "fc2.weight");
        names[LnFinalGain] = new("final_layernorm.weight");
        names.AddBiases(Ln1Bias, QBias, KBias, VBias, OBias, MlpInBias, MlpOutBias, LnFinalBias, UnembedBias);
        bool normed = config.Bool("qk_layernorm", false);
        if (normed)
        {
            names.AddQueryKeyNorms("q_layernorm", "k_layernorm");
            names.AddBiases(QNormBias, KNormBias);
        }

        var defaults = new LlamaLike.Defaults
        {
            Norm = NormKind.Layer,
            EpsilonKey = "layer_norm_eps",
            Epsilon = 1e-5,
            Rotated = 0.5,
            Activation = "gelu_new",
        };
        return LlamaLike.Read(config, "phi", names, defaults) with
        {
            GatedMlp = false,
            ParallelBlock = true,
            SharedNorm = true,
            QueryKeyNorm = normed ? QueryKeyNorm.PerHead : QueryKeyNorm.None,
        };
    }
}
