using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Phi-3 and Phi-4: Llama with fused q, k, v and fused gate and up projection, LongRoPE, sometimes a sliding window.</summary>
internal static class Phi3
{
    public static ModelDescription Read(ConfigFile config)
    {
        int window = config.OptionalInt("sliding_window") ?? 0;
        ModelDescription model = LlamaLike.Read(config, "phi3", LlamaLike.Names(), new LlamaLike.Defaults { Epsilon = 1e-5 });
        return model with { Window = _ => window, Layout = LlamaLike.Layout(Names(model)) };
    }

    private static Dictionary<Parameter, ParameterSource> Names(ModelDescription model)
    {
        int queries = model.Heads * model.HeadSize, keys = model.KeyValueHeads * model.HeadSize, neurons = model.MlpWidth;
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        names[QWeight] = Fused(0, queries);
        names[KWeight] = Fused(queries, keys);
        names[VWeight] = Fused(queries + keys, keys);
        names[MlpInWeight] = new(LlamaLike.Mlp + "gate_up_proj.weight", Part: new FusedPart(1, 2 * neurons, 0, neurons));
        names[MlpUpWeight] = new(LlamaLike.Mlp + "gate_up_proj.weight", Part: new FusedPart(1, 2 * neurons, neurons, neurons));
        return names;

        ParameterSource Fused(int start, int size) =>
            new(LlamaLike.Attention + "qkv_proj.weight", Part: new FusedPart(1, queries + 2 * keys, start, size));
    }
}
