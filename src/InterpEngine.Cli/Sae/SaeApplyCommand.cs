using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using InterpEngine.Dictionaries;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae apply</c>: features and reconstruction of stored vectors, in memory that their number does not change.</summary>
internal static class SaeApplyCommand
{
    private const string Features = "features", Pointers = "features.row_pointers", Indices = "features.indices",
        Values = "features.values",
        Reconstruction = "reconstruction";

    private static readonly VectorInput s_input = new(required: true);

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
            "interp sae apply path/to/sae --input residuals.safetensors --tensor blocks.6.hook_resid_pre --out features.safetensors --sparse",
            "interp sae apply path/to/sae --input activations/ --tensor blocks.6.hook_resid_pre --out features.safetensors --sparse");
        DictionaryArgument.AddTo(command);
        s_input.AddTo(command);
        foreach (Option option in (Option[])[s_out, s_sparse, CommonOptions.DeviceName, CommonOptions.Threads, CommonOptions.Json])
        {
            command.Options.Add(option);
        }

        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        string output = parse.GetRequiredValue(s_out);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using SparseDictionary dictionary = DictionaryArgument.Load(parse, device);
        using StoredVectors vectors = s_input.Open(parse)!;
        long rows = vectors.Rows(dictionary.Config), active = parse.GetValue(s_sparse)
            ? ApplySparse(dictionary, vectors, output, cancellation)
            : ApplyDense(dictionary, vectors, output, cancellation);
        if (parse.GetValue(CommonOptions.Json))
        {
            JsonOutput.Write(terminal.Out, json =>
            {
                json.WriteString("out", output);
                json.WriteNumber("rows", rows);
                json.WriteNumber("l0", (double)active / rows);
            });
        }
        else
        {
            terminal.Note(string.Create(
                CultureInfo.InvariantCulture, $"{rows:N0} rows, {(double)active / rows:0.#} features active in each: {output}"));
        }

        return ExitCode.Success;
    }

    private static long ApplyDense(SparseDictionary dictionary, StoredVectors vectors, string output, CancellationToken cancellation)
    {
        DictionaryConfig config = dictionary.Config;
        long rows = vectors.Rows(config), active = 0;
        using var writer = new SafetensorsWriter(
            output, [new SafetensorsDeclaration(Features, SafetensorsType.F32, rows, config.Features), Declare(config, rows)]);
        using var reconstruction = new Spool(output);
        foreach (Encoding encoding in Encodings(dictionary, vectors, reconstruction, cancellation))
        {
            float[] dense = encoding.Features.ToDense();
            active += dense.Count(value => value != 0);
            writer.Write(Features, MemoryMarshal.AsBytes<float>(dense));
        }

        reconstruction.MoveTo(writer, Reconstruction);
        writer.Complete();
        return active;
    }

    private static long ApplySparse(SparseDictionary dictionary, StoredVectors vectors, string output, CancellationToken cancellation)
    {
        long active = 0;
        using Spool pointers = new(output), indices = new(output), values = new(output), reconstruction = new(output);
        pointers.Append(BitConverter.GetBytes(0L));
        foreach (Encoding encoding in Encodings(dictionary, vectors, reconstruction, cancellation))
        {
            (int[] ends, int[] features, float[] activations) = encoding.Features.ToArrays();
            pointers.Append(MemoryMarshal.AsBytes<long>([.. ends.Skip(1).Select(end => active + end)]));
            indices.Append(MemoryMarshal.AsBytes<int>(features));
            values.Append(MemoryMarshal.AsBytes<float>(activations));
            active += features.Length;
        }

        long rows = vectors.Rows(dictionary.Config);
        using var writer = new SafetensorsWriter(output,
        [
            new SafetensorsDeclaration(Pointers, SafetensorsType.I64, rows + 1),
            Declare(dictionary.Config, rows),
            new SafetensorsDeclaration(Indices, SafetensorsType.I32, active),
            new SafetensorsDeclaration(Values, SafetensorsType.F32, active),
        ]);
        pointers.MoveTo(writer, Pointers);
        reconstruction.MoveTo(writer, Reconstruction);
        indices.MoveTo(writer, Indices);
        values.MoveTo(writer, Values);
        writer.Complete();
        return active;
    }

    /// <summary>The features of all rows, some rows at a time, while their reconstruction goes to disk.</summary>
    private static IEnumerable<Encoding> Encodings(
        SparseDictionary dictionary, StoredVectors vectors, Spool reconstruction, CancellationToken cancellation)
    {
        foreach (Tensor rows in vectors.Batches(dictionary.Device, dictionary.Config, cancellation))
        {
            using (rows)
            {
                using Encoding encoding = dictionary.Encode(rows);
                using Tensor decoded = dictionary.Decode(encoding);
                reconstruction.Append(MemoryMarshal.AsBytes<float>(decoded.ToArray<float>()));
                yield return encoding;
            }
        }
    }

    private static SafetensorsDeclaration Declare(DictionaryConfig config, long rows) =>
        new(Reconstruction, SafetensorsType.F32, rows, config.OutputWidth);
}
