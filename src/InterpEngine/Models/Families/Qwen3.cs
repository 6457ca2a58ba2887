using InterpEngine.Formats;

namespace InterpEngine.Models.Families;

/// <summary>Qwen3: Qwen2 without its biases, with a norm on every query and key head.</summary>
internal static class Qwen3
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names().WithAttentionBias(config.Bool("attention_bias", false));
        names.AddQueryKeyNorms();
        ModelDescription model = LlamaLike.Read(config, "qwen3", names, new LlamaLike.Defaults { HeadSize = 128 });
        return model with { QueryKeyNorm = QueryKeyNorm.PerHead, Window = Qwen2.UpperWindows(config, model.Layers) };
    }
}
