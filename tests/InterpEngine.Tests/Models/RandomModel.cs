using System.Runtime.InteropServices;
using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Models;

namespace InterpEngine.Tests.Models;

/// <summary>Writes a checkpoint of any described model with random weights in which nothing is idle.</summary>
internal static class RandomModel
{
    /// <summary>Settings of small models of every family, with sizes that are no multiples of anything.</summary>
    public static IReadOnlyDictionary<string, object>[] Families(int seed)
    {
        var random = new Random(seed);
        int heads = random.Next(1, 6), groups = random.Next(1, 4), layers = random.Next(1, 4);
        int size = 2 * random.Next(1, 11), mlp = random.Next(1, 90), vocabulary = random.Next(2, 120);
        return
        [
            new Dictionary<string, object>
            {
                ["model_type"] = "gpt2",
                ["n_embd"] = heads * size,
                ["n_head"] = heads,
                ["n_layer"] = layers,
                ["n_inner"] = mlp,
                ["vocab_size"] = vocabulary,
                ["n_positions"] = 64,
                ["scale_attn_by_inverse_layer_idx"] = random.Next(2) == 0,
            },
            new Dictionary<string, object>
            {
                ["model_type"] = "gpt_neox",
                ["hidden_size"] = heads * size,
                ["num_attention_heads"] = heads,
                ["num_hidden_layers"] = layers,
                ["intermediate_size"] = mlp,
                ["vocab_size"] = vocabulary,
                ["max_position_embeddings"] = 64,
                ["rotary_pct"] = 1,
                ["use_parallel_residual"] = random.Next(2) == 0,
                ["attention_bias"] = random.Next(2) == 0,
            },
            new Dictionary<string, object>
            {
                ["model_type"] = "llama",
                ["hidden_size"] = random.Next(1, 70),
                ["head_dim"] = size,
                ["num_attention_heads"] = heads * groups,
                ["num_key_value_heads"] = groups,
                ["num_hidden_layers"] = layers,
                ["intermediate_size"] = mlp,
                ["vocab_size"] = vocabulary,
                ["max_position_embeddings"] = 64,
                ["tie_word_embeddings"] = random.Next(2) == 0,
                ["attention_bias"] = random.Next(2) == 0,
                ["mlp_bias"] = random.Next(2) == 0,
            },
        ];
    }

    /// <summary>Writes config.json and model.safetensors (F32) into a folder.</summary>
    public static void Write(string folder, IReadOnlyDictionary<string, object> settings, int seed)
    {
        byte[] config = JsonSerializer.SerializeToUtf8Bytes(settings);
        File.WriteAllBytes(Path.Combine(folder, "config.json"), config);
        ModelDescription description = ModelFamilies.Read(ConfigFile.Parse(config, "config.json"));
        IReadOnlyDictionary<string, long[]> tensors = CheckpointSchema.Required(description, description.Layout.Prefixes[0]);
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, "model.safetensors"),
            [.. tensors.Select(entry => new SafetensorsDeclaration(entry.Key, SafetensorsType.F32, entry.Value))]);
        var random = new Random(seed);
        foreach ((string name, long[] shape) in tensors)
        {
            var values = new float[shape.Aggregate(1L, (product, axis) => product * axis)];
            float width = shape.Length == 1 ? 1 : MathF.Sqrt(3f / shape.Min());
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = width * (2 * random.NextSingle() - 1) + (shape.Length == 1 ? 0.5f : 0);
            }

            writer.Write(name, MemoryMarshal.AsBytes<float>(values));
        }

        writer.Complete();
    }
}
