using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>OLMoE: a mixture of experts in every block, and a norm over all query or key heads at once.</summary>
internal static class Olmoe
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.AddQueryKeyNorms();
        ((Parameter[])[MlpInWeight, MlpUpWeight, MlpOutWeight]).ToList().ForEach(dense => names.Remove(dense));
        names.AddExperts();
        ModelDescription model = LlamaLike.Read(config, "olmoe", names, new LlamaLike.Defaults { Epsilon = 1e-5 });
        return model with
        {
            QueryKeyNorm = QueryKeyNorm.AllHeads,
            QueryKeyValueLimit = Olmo.Limit(config),
            Experts = new ExpertMixture
            {
                Count = config.Int("num_experts", "num_local_experts"),
                PerToken = config.OptionalInt("num_experts_per_tok") ?? 8,
                Width = model.MlpWidth,
                Score = RouterScore.Softmax,
                Renormalize = config.Bool("norm_topk_prob", false),
            },
        };
    }
}
