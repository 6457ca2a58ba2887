using System.Runtime.InteropServices;
using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Models;

namespace InterpEngine.Tests.Models;

/// <summary>Writes a checkpoint of any described model with random weights in which nothing is idle.</summary>
internal static class RandomModel
{
    /// <summary>Writes config.json and model.safetensors into a folder.</summary>
    public static void Write(string folder, IReadOnlyDictionary<string, object> settings, int seed, SafetensorsType type = SafetensorsType.F32)
    {
        byte[] config = JsonSerializer.SerializeToUtf8Bytes(settings);
        File.WriteAllBytes(Path.Combine(folder, "config.json"), config);
        ModelDescription description = ModelFamilies.Read(ConfigFile.Parse(config, "config.json"));
        IReadOnlyDictionary<string, long[]> tensors = CheckpointSchema.Required(description, description.Layout.Prefixes[0]);
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, "model.safetensors"),
            [.. tensors.Select(entry => new SafetensorsDeclaration(entry.Key, type, entry.Value))]);
        var random = new Random(seed);
        foreach ((string name, long[] shape) in tensors)
        {
            var values = new float[shape.Aggregate(1L, (product, axis) => product * axis)];
            float width = shape.Length == 1 ? 1 : MathF.Sqrt(3f / shape[^2..].Min());
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = width * (2 * random.NextSingle() - 1) + (shape.Length == 1 ? 0.5f : 0);
            }

            writer.Write(name, type switch
            {
                SafetensorsType.F16 => MemoryMarshal.AsBytes<Half>(Array.ConvertAll(values, value => (Half)value)),
                SafetensorsType.BF16 => MemoryMarshal.AsBytes<ushort>(
                    Array.ConvertAll(values, value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16))),
                _ => MemoryMarshal.AsBytes<float>(values),
            });
        }

        writer.Complete();
    }
}
