using InterpEngine.Formats;
using InterpEngine.Models.Families;

namespace InterpEngine.Models;

/// <summary>The architectures that the engine knows.</summary>
public static class ModelFamilies
{
    private const int MaxLayers = 10_000;

    private static readonly Dictionary<string, Func<ConfigFile, ModelDescription>> Readers = new(StringComparer.Ordinal)
    {
        ["bert"] = Bert.Read,
        ["bloom"] = Bloom.Read,
        ["cohere"] = Cohere.Read,
        ["deepseek_v3"] = DeepSeekV3.Read,
        ["falcon"] = Falcon.Read,
        ["gemma"] = Gemma.Read,
        ["gemma2"] = Gemma2.Read,
        ["gemma3_text"] = Gemma3.Read,
        ["gpt2"] = Gpt2.Read,
        ["gpt_neo"] = GptNeo.Read,
        ["gpt_neox"] = GptNeoX.Read,
        ["gpt_oss"] = GptOss.Read,
        ["gptj"] = GptJ.Read,
        ["granite"] = Granite.Read,
        ["llama"] = Llama.Read,
        ["mistral"] = Mistral.Read,
        ["mixtral"] = Mixtral.Read,
        ["olmo"] = Olmo.Read,
        ["olmo2"] = Olmo2.Read,
        ["olmoe"] = Olmoe.Read,
        ["opt"] = Opt.Read,
        ["phi"] = Phi.Read,
        ["phi3"] = Phi3.Read,
        ["qwen2"] = Qwen2.Read,
        ["qwen2_moe"] = Qwen2Moe.Read,
        ["qwen3"] = Qwen3.Read,
        ["qwen3_moe"] = Qwen3Moe.Read,
        ["stablelm"] = StableLm.Read,
        ["starcoder2"] = Starcoder2.Read,
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

        if (description.Experts is { } experts && experts.PerToken > experts.Count)
        {
            throw new ModelException($"{config.Path}: a token cannot go through {experts.PerToken} of {experts.Count} experts.");
        }

        return description;
    }
}
