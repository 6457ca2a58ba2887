using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Tests.Sae;

/// <summary>A transcoder for every layer, as circuit-tracer stores them.</summary>
internal static class TranscoderFolder
{
    public static string Write(string folder, int width, int layers, int features)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(
            Path.Combine(folder, "config.yaml"),
            "model_kind: transcoder_set\nmodel_name: tales\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
            + $"transcoders:\n{string.Concat(Enumerable.Range(0, layers).Select(layer => $"- layer_{layer}.safetensors\n"))}");
        for (int layer = 0; layer < layers; layer++)
        {
            var random = new Random(layer);
            (string Name, long[] Shape)[] tensors =
                [("W_enc", [features, width]), ("b_enc", [features]), ("W_dec", [features, width]), ("b_dec", [width])];
            using var writer = new SafetensorsWriter(
                Path.Combine(folder, $"layer_{layer}.safetensors"),
                tensors.Select(tensor => new SafetensorsDeclaration(tensor.Name, SafetensorsType.F32, tensor.Shape)));
            foreach ((string name, long[] shape) in tensors)
            {
                float[] values = [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (a, b) => a * b))
                    .Select(_ => random.NextSingle() - 0.5f)];
                writer.Write(name, MemoryMarshal.AsBytes<float>(values));
            }

            writer.Complete();
        }

        return folder;
    }
}
