using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Mixtral: Mistral with a mixture of experts in every block.</summary>
internal static class Mixtral
{
    private const string Moe = "layers.{i}.block_sparse_moe.";

    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        ((Parameter[])[MlpInWeight, MlpUpWeight, MlpOutWeight]).ToList().ForEach(dense => names.Remove(dense));
        names[RouterWeight] = new(Moe + "gate.weight");
        names[ExpertInWeight] = new(Moe + "experts.{e}.w1.weight");
        names[ExpertUpWeight] = new(Moe + "experts.{e}.w3.weight");
        names[ExpertOutWeight] = new(Moe + "experts.{e}.w2.weight");
        int window = config.OptionalInt("sliding_window") ?? 0;
        ModelDescription model = LlamaLike.Read(config, "mixtral", names, new LlamaLike.Defaults { Epsilon = 1e-5, Theta = 1e6 });
        return model with
        {
            Window = _ => window,
            Experts = new ExpertMixture
            {
                Count = config.Int("num_local_experts", "num_experts"),
                PerToken = config.OptionalInt("num_experts_per_tok") ?? 2,
                Width = model.MlpWidth,
                Score = RouterScore.Softmax,
                Renormalize = true,
            },
        };
    }
}
