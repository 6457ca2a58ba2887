using InterpEngine.Formats;
using InterpEngine.Models.Families;

namespace InterpEngine.Models;

/// <summary>The architectures that the engine knows.</summary>
public static class ModelFamilies
{
    private const int MaxLayers = 10_000;

    private static readonly Dictionary<string, Func<ConfigFile, ModelDescription>> Readers = new(StringComparer.Ordinal)
    {
        ["gpt2"] = Gpt2.Read,
        ["gpt_neox"] = GptNeoX.Read,
        ["llama"] = Llama.Read,
    };

    /// <summary>The names, as in <c>model_type</c>.</summary>
    public static IEnumerable<string> Names => Readers.Keys.Order(StringComparer.Ordinal);

    /// <summary>Reads a config.json.</summary>
    /// <exception cref="InvalidFileException">A setting is missing or of the wrong type.</exception>
    /// <exception cref="ModelException">The architecture or a setting is unknown.</exception>
    public static ModelDescription Read(ConfigFile config)
    {
        ArgumentNullException.ThrowIfNull(config);
        string type = config.String("model_type");
        if (!Readers.TryGetValue(type, out Func<ConfigFile, ModelDescription>? read))
        {
            throw new ModelException($"{config.Path}: the architecture '{type}' is not supported.", $"Supported are {string.Join(", ", Names)}.");
        }

        ModelDescription description = read(config);
        ConfigReading.RefuseUnread(config);
        if (description.Layers > MaxLayers)
        {
            throw new ModelException($"{config.Path}: {description.Layers} layers are more than the {MaxLayers} that any model has.");
        }

        return description;
    }
}
