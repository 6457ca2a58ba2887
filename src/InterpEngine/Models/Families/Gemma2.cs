using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Gemma 2: norms before and after attention and MLP, soft-caps of scores and logits, a window in every second block.</summary>
internal static class Gemma2
{
    public static ModelDescription Read(ConfigFile config)
    {
        ModelDescription model = WithCaps(config, Gemma.Read(config, "gemma2", Names()), 50, 30);
        int window = config.OptionalInt("sliding_window") ?? config.OptionalInt("sliding_window_size") ?? 4096;
        return model with { Window = config.Windows(model.Layers, window, layer => layer % 2 == 0) };
    }

    /// <summary>Four norms in each block.</summary>
    public static Dictionary<Parameter, ParameterSource> Names()
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        names[Ln1PostGain] = new(LlamaLike.Block + "post_attention_layernorm.weight");
        names[Ln2Gain] = new(LlamaLike.Block + "pre_feedforward_layernorm.weight");
        names[Ln2PostGain] = new(LlamaLike.Block + "post_feedforward_layernorm.weight");
        return names;
    }

    /// <summary>The scale of the scores, and soft-caps, which an explicit null switches off.</summary>
    public static ModelDescription WithCaps(ConfigFile config, ModelDescription model, float scoresIfAbsent, float logitsIfAbsent)
    {
        float scale = (float)(1 / Math.Sqrt(config.OptionalDouble("query_pre_attn_scalar") ?? 256));
        return model with
        {
            Norms = NormPlacement.BeforeAndAfter,
            AttentionScale = _ => scale,
            ScoreSoftCap = Cap("attn_logit_softcapping", scoresIfAbsent),
            LogitSoftCap = Cap("final_logit_softcapping", logitsIfAbsent),
        };

        float Cap(string key, float ifAbsent)
        {
            if (!config.Has(key))
            {
                return config.IsNull(key) ? 0 : ifAbsent;
            }

            double cap = config.Double(key);
            return cap > 0 ? (float)cap : throw config.Unexpected(key, "a positive number or null");
        }
    }
}
