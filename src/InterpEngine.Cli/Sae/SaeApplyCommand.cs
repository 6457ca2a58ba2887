using System.CommandLine;
using System.Runtime.InteropServices;
using InterpEngine.Dictionaries;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae apply</c>: features and reconstruction of stored vectors.</summary>
internal static class SaeApplyCommand
{
    /// <summary>Floats of a chunk's input and dense features at most.</summary>
    private const long ChunkFloats = 1 << 22;

    private static readonly Argument<string> s_dictionary = SaeCommand.CreateArgument();

    private static readonly Option<string> s_input = new("--input")
    {
        Description = "Vectors: a .safetensors file (of one tensor, or name it with --tensor) or a .npy file, [.., width].",
        HelpName = "FILE",
        Required = true,
    };

    private static readonly Option<string?> s_tensor = new("--tensor")
    {
        Description = "Which tensor of the file.",
        HelpName = "NAME",
    };

    private static readonly Option<string> s_out = new("--out")
    {
        Description = "What to write: 'features' (or 'features.row_pointers', '.indices' and '.values') and 'reconstruction'.",
        HelpName = "FILE.safetensors",
        Required = true,
    };

    private static readonly Option<bool> s_sparse = new("--sparse")
    {
        Description = "Write only active features: row pointers, indices and values.",
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "apply",
            "Compute the features and the reconstruction of stored vectors.",
            "interp sae apply path/to/sae --input residuals.safetensors --tensor blocks.6.hook_resid_pre --out features.safetensors --sparse")
        {
            s_dictionary, s_input, s_tensor, s_out, s_sparse, CommonOptions.DeviceName, CommonOptions.Threads,
        };
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        string input = parse.GetRequiredValue(s_input), output = parse.GetRequiredValue(s_out);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using SparseDictionary dictionary = SparseDictionary.Load(parse.GetRequiredValue(s_dictionary), device);
        DictionaryConfig config = dictionary.Config;
        (float[] values, long[] shape) = ReadVectors(input, parse.GetValue(s_tensor));
        int d = config.InputWidth;
        if (values.Length % d != 0 || (shape.Length > 0 && shape[^1] > d) || values.Length == 0)
        {
            throw new UsageException(
                $"{input} holds [{string.Join(", ", shape)}]; expected rows of {d}, the width of the dictionary.", "Is it another hook point's?");
        }

        Apply(dictionary, values, output, parse.GetValue(s_sparse), cancellation);
        return ExitCode.Success;
    }

    private static void Apply(SparseDictionary dictionary, float[] values, string output, bool sparse, CancellationToken cancellation)
    {
        DictionaryConfig config = dictionary.Config;
        int d = config.InputWidth, rows = values.Length / d, chunk = (int)Math.Max(1, ChunkFloats / Math.Max(d, config.Features));
        var reconstruction = new SafetensorsDeclaration("reconstruction", SafetensorsType.F32, rows, config.OutputWidth);
        using SafetensorsWriter? dense = sparse ? null : new SafetensorsWriter(
            output, [new SafetensorsDeclaration("features", SafetensorsType.F32, rows, config.Features), reconstruction]);
        var pointers = new List<long> { 0 };
        var indices = new List<int>();
        var active = new List<float>();
        float[] decodedRows = new float[checked((long)rows * config.OutputWidth)];
        for (int start = 0; start < rows; start += chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(chunk, rows - start);
            using Tensor x = dictionary.Device.Upload<float>(values.AsSpan(start * d, count * d), count, d);
            using Encoding encoding = dictionary.Encode(x);
            using Tensor decoded = dictionary.Decode(encoding);
            decoded.CopyTo(decodedRows.AsSpan(start * config.OutputWidth, count * config.OutputWidth));
            if (dense is not null)
            {
                dense.Write("features", MemoryMarshal.AsBytes<float>(encoding.Features.ToDense()));
                continue;
            }

            (int[] rowPointers, int[] features, float[] activations) = encoding.Features.ToArrays();
            pointers.AddRange(rowPointers.Skip(1).Select(pointer => indices.Count + (long)pointer));
            indices.AddRange(features);
            active.AddRange(activations);
        }

        using SafetensorsWriter writer = dense ?? new SafetensorsWriter(output, [
            new SafetensorsDeclaration("features.row_pointers", SafetensorsType.I64, rows + 1),
            reconstruction,
            new SafetensorsDeclaration("features.indices", SafetensorsType.I32, indices.Count),
            new SafetensorsDeclaration("features.values", SafetensorsType.F32, active.Count),
        ]);
        if (sparse)
        {
            writer.Write("features.row_pointers", MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(pointers)));
        }

        writer.Write("reconstruction", MemoryMarshal.AsBytes<float>(decodedRows));
        if (sparse)
        {
            writer.Write("features.indices", MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(indices)));
            writer.Write("features.values", MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(active)));
        }

        writer.Complete();
    }

    private static (float[] Values, long[] Shape) ReadVectors(string path, string? name)
    {
        if (path.EndsWith(".npy", StringComparison.OrdinalIgnoreCase))
        {
            NpyArray array = NpyArray.Open(path);
            return (array.ToSingles(path), [.. array.Shape]);
        }

        using SafetensorsFile file = SafetensorsFile.Open(path);
        SafetensorsEntry entry = name is not null && file.Tensors.TryGetValue(name, out SafetensorsEntry? named) ? named
            : name is null && file.Tensors.Count == 1 ? file.Tensors.Values.Single()
            : throw new UsageException(
                name is null ? $"{path} holds {file.Tensors.Count} tensors; name one with --tensor." : $"{path} has no tensor '{name}'.",
                $"It has {string.Join(", ", file.Tensors.Keys.Order(StringComparer.Ordinal).Take(8))}.");
        return (entry.ToSingles(), [.. entry.Shape]);
    }
}
