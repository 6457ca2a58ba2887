using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>StarCoder2: layer norm, a plain MLP, biases, grouped queries, tied embedding.</summary>
internal static class Starcoder2
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names(normBias: true);
        names[MlpInWeight] = new(LlamaLike.Mlp + "c_fc.weight");
        names[MlpOutWeight] = new(LlamaLike.Mlp + "c_proj.weight");
        names.Remove(MlpUpWeight);
        if (config.Bool("use_bias", true))
        {
            names.AddBiases(QBias, KBias, VBias, OBias, MlpInBias, MlpOutBias);
        }

        int window = config.OptionalInt("sliding_window") ?? 0;
        var defaults = new LlamaLike.Defaults
        {
            Norm = NormKind.Layer,
            EpsilonKey = "norm_epsilon",
            Epsilon = 1e-5,
            Activation = "gelu_pytorch_tanh",
            Tied = true,
        };
        return LlamaLike.Read(config, "starcoder2", names, defaults) with { GatedMlp = false, Window = _ => window };
    }
}
