using InterpEngine.Formats;

namespace InterpEngine.Models.Families;

/// <summary>Mistral: Llama with a sliding window in all blocks, or in none.</summary>
internal static class Mistral
{
    public static ModelDescription Read(ConfigFile config)
    {
        int window = config.OptionalInt("sliding_window") ?? 0;
        return LlamaLike.Read(config, "mistral", LlamaLike.Names()) with { Window = _ => window };
    }
}
