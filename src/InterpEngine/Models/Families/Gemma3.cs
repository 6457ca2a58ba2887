using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Models.Families;

/// <summary>Gemma 3 (text): Gemma 2 with norms of queries and keys, and another rotary base in the blocks that have a window.</summary>
internal static class Gemma3
{
    public static ModelDescription Read(ConfigFile config)
    {
        Dictionary<Parameter, ParameterSource> names = Gemma2.Names();
        names.AddQueryKeyNorms();
        bool byType = config.Has("rope_parameters") && config.Object("rope_parameters").Has("full_attention");
        ModelDescription model = Gemma2.WithCaps(config, Gemma.Read(config, "gemma3_text", names, theta: 1e6), 0, 0);
        int pattern = config.Has("sliding_window_pattern") || !config.Has("_sliding_window_pattern")
            ? config.OptionalInt("sliding_window_pattern") ?? 6
            : config.Int("_sliding_window_pattern");
        int window = config.OptionalInt("sliding_window") ?? 4096;
        return model with
        {
            QueryKeyNorm = QueryKeyNorm.PerHead,
            Window = config.Windows(model.Layers, window, layer => (layer + 1) % pattern != 0),
            Positions = byType ? ByType(config, model) : new RotaryPositions(
                RotaryPairs.Halves, RotaryFrequencies.Read(config, model.HeadSize, 1, model.Context, 1e6))
            {
                Local = new RotaryFrequencies
                {
                    Channels = model.HeadSize,
                    Base = config.OptionalDouble("rope_local_base_freq") ?? 10000,
                },
            },
        };
    }

    /// <summary>Transformers 5 nests the settings of both kinds of block in <c>rope_parameters</c>.</summary>
    private static RotaryPositions ByType(ConfigFile config, ModelDescription model)
    {
        ConfigFile parameters = config.Object("rope_parameters");
        return new RotaryPositions(RotaryPairs.Halves, Of("full_attention", 1e6)) { Local = Of("sliding_attention", 10000) };

        RotaryFrequencies Of(string type, double theta)
        {
            ConfigFile settings = parameters.Object(type);
            return RotaryFrequencies.Of(
                config, settings, model.HeadSize, settings.OptionalDouble("partial_rotary_factor") ?? 1, model.Context,
                settings.OptionalDouble("rope_theta") ?? theta);
        }
    }
}
