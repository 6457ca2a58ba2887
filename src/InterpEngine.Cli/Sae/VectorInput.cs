using System.CommandLine;
using System.Text.Json;
using InterpEngine.Captures;
using InterpEngine.Dictionaries;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae;

/// <summary>Stored vectors: the options that name them.</summary>
internal sealed class VectorInput(bool required)
{
    private readonly Option<string?> _input = new("--input")
    {
        Description = "Vectors: a .safetensors or .npy file, or a folder of `interp capture`; [.., width].",
        HelpName = "PATH",
        Required = required,
    };

    private readonly Option<string?> _tensor = new("--tensor")
    {
        Description = "Which tensor of it, where there are several.",
        HelpName = "NAME",
    };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(_input);
        command.Options.Add(_tensor);
    }

    /// <summary>What the command line names; null if it names nothing.</summary>
    public StoredVectors? Open(ParseResult parse) => parse.GetValue(_input) is { } path
        ? StoredVectors.Open(path, parse.GetValue(_tensor)) : null;
}

/// <summary>Rows of one width in a file or in the shards of a capture, read some at a time.</summary>
internal sealed class StoredVectors : IDisposable
{
    /// <summary>Floats of a batch's rows and dense features at most.</summary>
    private const long BatchFloats = 1 << 22;

    private readonly string _path;
    private readonly IReadOnlyList<SafetensorsEntry> _entries;
    private readonly IReadOnlyList<SafetensorsEntry?> _scales;
    private readonly IReadOnlyList<IDisposable> _files;
    private readonly float[]? _values;

    private StoredVectors(
        string path, IReadOnlyList<IDisposable> files, IReadOnlyList<SafetensorsEntry> entries, IReadOnlyList<SafetensorsEntry?> scales)
    {
        (_path, _files, _entries, _scales) = (path, files, entries, scales);
        Count = entries.Sum(entry => entry.Count);
        Shape = entries.Count == 1 ? [.. entries[0].Shape] : [entries.Sum(entry => entry.Shape[0]), .. entries[0].Shape.Skip(1)];
    }

    private StoredVectors(string path, NpyArray array)
    {
        (_path, _files, _entries, _scales) = (path, [], [], []);
        (_values, Shape) = (array.ToSingles(path), [.. array.Shape]);
        Count = _values.Length;
    }

    /// <summary>Values.</summary>
    public long Count { get; }

    /// <summary>The stored shape.</summary>
    public long[] Shape { get; }

    /// <summary>Opens a file or a folder.</summary>
    /// <exception cref="InterpException">There is no such thing, or it is broken.</exception>
    public static StoredVectors Open(string path, string? name)
    {
        if (path.EndsWith(".npy", StringComparison.OrdinalIgnoreCase))
        {
            return new StoredVectors(path, NpyArray.Open(path));
        }

        string[] paths = Directory.Exists(path) ? [.. CaptureShards(path)] : [path];
        var files = new List<SafetensorsFile>();
        try
        {
            files.AddRange(paths.Select(SafetensorsFile.Open));
            string tensor = name ?? OnlyVectors(files[0]);
            SafetensorsEntry[] entries = [.. files.Select(file => Find(file, tensor))];
            return new StoredVectors(
                path, files, entries, [.. files.Select(file => file.Tensors.GetValueOrDefault(Narrowing.ScaleName(tensor)))]);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>How many rows of a dictionary's width there are.</summary>
    /// <exception cref="UsageException">They have another width.</exception>
    public long Rows(DictionaryConfig config)
    {
        int d = config.InputWidth;
        bool fits = Count > 0 && Shape.Length > 0 && Shape[^1] <= d && Count % d == 0 && TrailingRow(d);
        return fits ? Count / d : throw new UsageException(
            $"{_path} holds [{string.Join(", ", Shape)}]; expected rows of {d}, the width of the dictionary.",
                "Is it another hook point's?");
    }

    /// <summary>The rows, some at a time; each batch is the caller's.</summary>
    public IEnumerable<Tensor> Batches(Device device, DictionaryConfig config, CancellationToken cancellation)
    {
        int d = config.InputWidth, rowsAtOnce = (int)Math.Max(1, BatchFloats / Math.Max(d, config.Features));
        _ = Rows(config);
        if (_values is not null)
        {
            for (int at = 0; at < _values.Length; at += rowsAtOnce * d)
            {
                cancellation.ThrowIfCancellationRequested();
                int count = Math.Min(rowsAtOnce * d, _values.Length - at);
                yield return device.Upload<float>(_values.AsSpan(at, count), count / d, d);
            }
        }

        for (int i = 0; i < _entries.Count; i++)
        {
            for (long row = 0, rows = _entries[i].Count / d; row < rows; row += rowsAtOnce)
            {
                cancellation.ThrowIfCancellationRequested();
                int count = (int)Math.Min(rowsAtOnce, rows - row);
                yield return device.Upload<float>(Read(_entries[i], _scales[i], row * d, count * d), count, d);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable file in _files)
        {
            file.Dispose();
        }
    }

    /// <summary>Whether the last axes make up a row.</summary>
    private bool TrailingRow(int d)
    {
        long product = 1;
        for (int axis = Shape.Length - 1; axis >= 0 && product < d; axis--)
        {
            product *= Shape[axis];
        }

        return product == d;
    }

    private static float[] Read(SafetensorsEntry entry, SafetensorsEntry? scale, long first, int count) =>
        entry.Type == SafetensorsType.I8 && scale is not null
            ? Narrowing.Load(entry, scale, first, count)
            : entry.ToSingles(first, count);

    private static IEnumerable<string> CaptureShards(string folder)
    {
        string path = Path.Combine(folder, "index.json");
        if (!File.Exists(path))
        {
            throw new InvalidFileException(
                folder, "has no index.json: it is no folder of `interp capture`", "Give a .safetensors or .npy file, or such a folder.");
        }

        using JsonDocument index = JsonStrict.Load(path);
        string[] names = [.. index.RootElement.ValueKind == JsonValueKind.Object
            && index.RootElement.TryGetProperty("shards", out JsonElement shards)
            && shards.ValueKind == JsonValueKind.Array
            ? shards.EnumerateArray()
                .Select(shard => shard.ValueKind == JsonValueKind.Object && shard.TryGetProperty("file", out JsonElement file)
                && file.ValueKind == JsonValueKind.String && ShardName.IsPlain(file.GetString()!) ? file.GetString()! : "")
            : []];
        return names.Length > 0 && !names.Contains("") ? names.Select(name => Path.Combine(folder, name))
            : throw new InvalidFileException(path, "names no shards of a capture");
    }

    private static SafetensorsEntry Find(SafetensorsFile file, string name) => file.Tensors.TryGetValue(name, out SafetensorsEntry? entry)
        ? entry
        : throw new UsageException($"{file.Path} has no tensor '{name}'.", Names(file));

    /// <summary>The name of the only tensor, or of the only one of floats with rows.</summary>
    private static string OnlyVectors(SafetensorsFile file)
    {
        string[] floats = [.. file.Tensors.Values
            .Where(entry => entry.Type is SafetensorsType.F32 or SafetensorsType.BF16 or SafetensorsType.F16 or SafetensorsType.F64)
            .Where(entry => entry.Shape.Length > 1 || file.Tensors.Count == 1)
            .Select(entry => entry.Name)];
        return floats.Length == 1 ? floats[0]
            : throw new UsageException($"{file.Path} holds {file.Tensors.Count} tensors; name one with --tensor.", Names(file));
    }

    private static string Names(SafetensorsFile file) =>
        $"It has {string.Join(", ", file.Tensors.Keys.Order(StringComparer.Ordinal).Take(8))}.";
}
