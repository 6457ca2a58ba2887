using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>GPT-OSS: attention sinks, a window in every second block, biased experts with a clamped gate, kept in one tensor a block.</summary>
internal static class GptOss
{
    public static ModelDescription Read(ConfigFile config)
    {
        var defaults = new LlamaLike.Defaults { Epsilon = 1e-5, Theta = 150000, HeadSize = 64 };
        ModelDescription model = LlamaLike.Read(config, "gpt_oss", [], defaults);
        int window = config.OptionalInt("sliding_window") ?? 128;
        return model with
        {
            AttentionSinks = true,
            Window = config.Windows(model.Layers, window, layer => layer % 2 == 0),
            Experts = new ExpertMixture
            {
                Count = config.Int("num_local_experts", "num_experts"),
                PerToken = config.Int("num_experts_per_tok", "experts_per_token"),
                Width = model.MlpWidth,
                Score = RouterScore.Softmax,
                Renormalize = true,
                SwigluLimit = config.Float("swiglu_limit", 7) is > 0 and var limit
                    ? limit
                    : throw config.Unexpected("swiglu_limit", "a positive number"),
                SwigluAlpha = config.Float("swiglu_alpha", 1.702),
            },
            Layout = LlamaLike.Layout(Names(model.MlpWidth, config.Bool("attention_bias", true))),
        };
    }

    private static Dictionary<Parameter, ParameterSource> Names(int neurons, bool attentionBias)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(attentionBias);
        ((Parameter[])[MlpInWeight, MlpUpWeight, MlpOutWeight]).ToList().ForEach(dense => names.Remove(dense));
        names[Sinks] = new(LlamaLike.Attention + "sinks");
        names[RouterWeight] = new(LlamaLike.Mlp + "router.weight");
        names[RouterBias] = new(LlamaLike.Mlp + "router.bias");

        // Gate and up projection by turns: gate 0, up 0, gate 1, …
        const string gateUp = LlamaLike.Mlp + "experts.gate_up_proj", down = LlamaLike.Mlp + "experts.down_proj";
        FusedPart gate = new(neurons, 2, 0, 1), up = new(neurons, 2, 1, 1);
        names[ExpertInWeight] = new(gateUp, InputsFirst: true, gate);
        names[ExpertInBias] = new(gateUp + "_bias", Part: gate);
        names[ExpertUpWeight] = new(gateUp, InputsFirst: true, up);
        names[ExpertUpBias] = new(gateUp + "_bias", Part: up);
        names[ExpertOutWeight] = new(down, InputsFirst: true);
        names[ExpertOutBias] = new(down + "_bias");
        return names;
    }
}
