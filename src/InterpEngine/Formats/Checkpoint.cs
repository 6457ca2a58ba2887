using System.Text.Json;

namespace InterpEngine.Formats;

/// <summary>
/// All tensors of a model by name, wherever they lie: in one safetensors file, or in the shards that an index names. Every
/// file stays open, and is checked whole, until disposal.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    private const string SingleFile = "model.safetensors";
    private const string IndexFile = "model.safetensors.index.json";
    private static readonly string[] s_pickleEndings = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

    private readonly Dictionary<string, SafetensorsFile> _files = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafetensorsEntry> _tensors = new(StringComparer.Ordinal);

    private Checkpoint(string path) => Path = path;

    /// <summary>The file that was opened: the safetensors file, or the index.</summary>
    public string Path { get; }

    /// <summary>The tensors by name; names compare by their exact characters.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors => _tensors;

    /// <summary>Opens a model's weights.</summary>
    /// <param name="path">
    /// A folder with <c>model.safetensors</c> or <c>model.safetensors.index.json</c>, a safetensors file, or an index
    /// (<c>*.json</c>).
    /// </param>
    /// <exception cref="InvalidFileException">There are no weights, they are pickles, or a file is broken.</exception>
    public static Checkpoint Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var checkpoint = new Checkpoint(Directory.Exists(path) ? Find(path) : path);
        try
        {
            if (checkpoint.Path.EndsWith(".json", StringComparison.OrdinalIgnoreCase))
            {
                checkpoint.OpenShards();
            }
            else
            {
                SafetensorsFile file = checkpoint._files[checkpoint.Path] = SafetensorsFile.Open(checkpoint.Path);
                foreach ((string name, SafetensorsEntry entry) in file.Tensors)
                {
                    checkpoint._tensors.Add(name, entry);
                }
            }

            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files.Values)
        {
            file.Dispose();
        }
    }

    private static string Find(string folder)
    {
        string single = System.IO.Path.Combine(folder, SingleFile);
        string index = System.IO.Path.Combine(folder, IndexFile);
        if (File.Exists(single) || File.Exists(index))
        {
            return File.Exists(single) ? single : index;
        }

        string[] names = InputFile.Guard(folder, () => Directory.GetFiles(folder).Select(System.IO.Path.GetFileName).ToArray())!;
        if (names.FirstOrDefault(name => name.EndsWith(".safetensors", StringComparison.Ordinal)) is { } other)
        {
            throw new InvalidFileException(
                folder,
                $"has neither {SingleFile} nor {IndexFile}",
                $"Give the path of the file itself, such as {InputFile.Quote(other)}.");
        }

        throw names.FirstOrDefault(IsPickle) is { } pickle
            ? new(folder, $"has its weights only as pickles, such as {InputFile.Quote(pickle)}", ForeignFile.ConversionHint)
            : new InvalidFileException(
                folder, $"has no weights: neither {SingleFile} nor {IndexFile}", "Give the folder that holds the model's files.");
    }

    private static bool IsPickle(string name) =>
        s_pickleEndings.Any(ending => name.EndsWith(ending, StringComparison.OrdinalIgnoreCase));

    private void OpenShards()
    {
        using JsonDocument document = JsonStrict.Load(Path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(Path, "the index is no JSON object");
        }

        CheckTotalSize(document.RootElement);
        if (!document.RootElement.TryGetProperty("weight_map", out JsonElement map) || map.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(Path, "the index has no object 'weight_map' from tensor names to file names");
        }

        foreach (JsonProperty property in map.EnumerateObject())
        {
            string? shard = property.Value.ValueKind == JsonValueKind.String ? property.Value.GetString() : null;
            if (!ShardName.IsPlain(shard))
            {
                throw new InvalidFileException(
                    Path,
                    $"weight_map: the shard of {InputFile.Quote(property.Name)} is {InputFile.Quote(property.Value.GetRawText())}"
                    + "; expected a plain file name ending in .safetensors",
                    shard is not null && IsPickle(shard) ? ForeignFile.ConversionHint : null);
            }

            if (!_files.TryGetValue(shard, out SafetensorsFile? file))
            {
                _files[shard] = file = SafetensorsFile.Open(ShardName.Resolve(Path, shard));
            }

            _tensors[property.Name] = file.Tensors.GetValueOrDefault(property.Name) ?? throw new InvalidFileException(
                Path, $"weight_map: tensor {InputFile.Quote(property.Name)} is not in its shard {InputFile.Quote(shard)}");
        }
    }

    // Informative only, and often wrong in real files; but a negative size shows that the index was not written by a sane tool.
    private void CheckTotalSize(JsonElement root)
    {
        if (root.TryGetProperty("metadata", out JsonElement metadata) && metadata.ValueKind == JsonValueKind.Object
            && metadata.TryGetProperty("total_size", out JsonElement size)
            && (size.ValueKind != JsonValueKind.Number || size.GetDouble() < 0))
        {
            throw new InvalidFileException(Path, "metadata.total_size is no size");
        }
    }
}
