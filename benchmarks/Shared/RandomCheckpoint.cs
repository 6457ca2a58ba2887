using InterpEngine.Formats;
using InterpEngine.Models;
using InterpEngine.Tests.Models;

namespace InterpEngine.Benchmarks;

/// <summary>A checkpoint with random weights in a temporary folder, deleted at the end.</summary>
internal sealed class RandomCheckpoint : IDisposable
{
    /// <summary>GPT-2 small's shape.</summary>
    public static IReadOnlyDictionary<string, object> Gpt2Small { get; } = new Dictionary<string, object>
    {
        ["model_type"] = "gpt2",
        ["n_embd"] = 768,
        ["n_head"] = 12,
        ["n_layer"] = 12,
        ["vocab_size"] = 50257,
        ["n_positions"] = 1024,
    };

    /// <summary>Four blocks of a small Llama: grouped queries, gated MLP.</summary>
    public static IReadOnlyDictionary<string, object> LlamaShaped { get; } = new Dictionary<string, object>
    {
        ["model_type"] = "llama",
        ["hidden_size"] = 2048,
        ["num_attention_heads"] = 16,
        ["num_key_value_heads"] = 4,
        ["num_hidden_layers"] = 4,
        ["intermediate_size"] = 5632,
        ["vocab_size"] = 8192,
        ["max_position_embeddings"] = 2048,
        ["tie_word_embeddings"] = true,
    };

    public RandomCheckpoint(IReadOnlyDictionary<string, object> settings, SafetensorsType type = SafetensorsType.F32)
    {
        Folder = Directory.CreateTempSubdirectory("interp-benchmark-").FullName;
        RandomModel.Write(Folder, settings, seed: 1, type);
    }

    public string Folder { get; }

    public string WeightsFile => Path.Combine(Folder, "model.safetensors");

    /// <summary>Sequences of ordinary tokens: every id of the vocabulary may occur.</summary>
    public static TokenBatch Tokens(int vocabulary, int batch, int length)
    {
        var random = new Random(2);
        int[] ids = [.. Enumerable.Range(0, batch * length).Select(_ => random.Next(vocabulary))];
        return TokenBatch.Rectangle(ids, batch, length);
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
