using InterpEngine.Formats;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Qwen2: Llama with biases on q, k and v, and a sliding window in upper blocks if it is switched on.</summary>
internal static class Qwen2
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = LlamaLike.Names();
        names.AddBiases(QBias, KBias, VBias);
        ModelDescription model = LlamaLike.Read(config, "qwen2", names);
        return model with { Window = UpperWindows(config, model.Layers) };
    }

    /// <summary><c>use_sliding_window</c> with <c>max_window_layers</c>, the blocks below which have none.</summary>
    public static Func<int, int> UpperWindows(ConfigFile config, int layers)
    {
        int window = Window(config);
        int first = config.OptionalInt("max_window_layers", minimum: 0) ?? 28;
        return config.Windows(layers, window, layer => window > 0 && layer >= first);
    }

    /// <summary>The size of the window; 0 where it is switched off.</summary>
    public static int Window(ConfigFile config)
    {
        int window = config.OptionalInt("sliding_window", minimum: 0) ?? (config.IsNull("sliding_window") ? 0 : 4096);
        return config.Bool("use_sliding_window", false) ? window : 0;
    }
}
