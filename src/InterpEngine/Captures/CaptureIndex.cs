using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Captures;

/// <summary>
/// <c>index.json</c> of a capture's folder: what was captured from what, and which shards are finished. Nothing in it depends on
/// time or chance, so that a resumed capture ends in the same bytes.
/// </summary>
internal sealed class CaptureIndex
{
    public const string FileName = "index.json";
    private const string Shards = "shards";
    private const string Complete = "complete";

    private readonly Model _model;
    private readonly CaptureOptions _options;
    private readonly ShardLayout _layout;
    private readonly CapturePlan _plan;
    private readonly string _modelHash;
    private readonly string _path;
    private readonly List<long> _finished = [];
    private long _bytes;

    public CaptureIndex(Model model, CaptureOptions options, ShardLayout layout, CapturePlan plan, string folder)
    {
        (_model, _options, _layout, _plan) = (model, options, layout, plan);
        _path = Path.Combine(folder, FileName);
        _modelHash = HashModel(model.Path);
    }

    /// <summary>The files' bytes of the finished shards.</summary>
    public IReadOnlyList<long> Finished => _finished;

    /// <summary>Their sum; may be read while the writer adds.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    public static string ShardName(int shard) => $"shard-{shard:D5}.safetensors";

    /// <summary>Takes over the finished shards that the folder holds.</summary>
    /// <exception cref="CaptureException">The folder's capture is another one.</exception>
    /// <exception cref="InvalidFileException">The index is broken.</exception>
    public void Resume()
    {
        using JsonDocument stored = JsonStrict.Load(_path);
        using JsonDocument wanted = JsonDocument.Parse(Serialize());
        foreach (JsonProperty part in wanted.RootElement.EnumerateObject())
        {
            if (part.Name is not (Shards or Complete))
            {
                CheckSame(part.Name, part.Value, stored.RootElement);
            }
        }

        foreach (JsonElement shard in stored.RootElement.GetProperty(Shards).EnumerateArray())
        {
            var file = new FileInfo(Path.Combine(Path.GetDirectoryName(_path)!, ShardName(_finished.Count)));
            if (_finished.Count == _plan.Shards.Count || !shard.TryGetProperty("bytes", out JsonElement bytes)
                || !JsonStrict.TryGetNatural(bytes, out long length) || !file.Exists || file.Length != length)
            {
                break;
            }

            _finished.Add(length);
            _bytes += length;
        }
    }

    /// <summary>Counts a shard as finished and writes the index.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public void Add(long bytes)
    {
        _finished.Add(bytes);
        Interlocked.Add(ref _bytes, bytes);
        Write();
    }

    /// <summary>Writes the index.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public void Write() => AtomicFile.WriteAllBytes(_path, Serialize());

    private void CheckSame(string name, JsonElement wanted, JsonElement stored)
    {
        string key = name[(name.LastIndexOf('.') + 1)..];
        bool present = stored.ValueKind == JsonValueKind.Object && stored.TryGetProperty(key, out stored);
        if (present && wanted.ValueKind == JsonValueKind.Object && stored.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty part in wanted.EnumerateObject())
            {
                CheckSame($"{name}.{part.Name}", part.Value, stored);
            }
        }
        else if (!present || !JsonElement.DeepEquals(wanted, stored))
        {
            throw new CaptureException(
                $"{_path}: the folder holds another capture: {name} is {(present ? Show(stored) : "missing")} there, "
                + $"{Show(wanted)} here.",
                "Continue with the same model, input and settings, or choose another folder.");
        }
    }

    /// <summary>As in Python: <c>3:10</c> is 3 to 9, <c>-1:</c> the last, <c>:</c> all.</summary>
    private static string Show(Range range)
    {
        string start = range.Start.Equals(Index.Start) ? "" : Show(range.Start);
        string end = range.End.Equals(Index.End) ? "" : Show(range.End);
        return $"{start}:{end}";

        static string Show(Index index) => (index.IsFromEnd ? -index.Value : index.Value).ToString(CultureInfo.InvariantCulture);
    }

    private static string Show(JsonElement value) =>
        value.GetRawText().ReplaceLineEndings("") is { Length: > 60 } text ? text[..60] + "…" : value.GetRawText();

    /// <summary>Of the settings and of all weights: a capture must not go on with a model that was trained further.</summary>
    private static string HashModel(string path)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using Checkpoint checkpoint = Checkpoint.Open(path);
        IEnumerable<string> files = checkpoint.Tensors.Values
            .Select(tensor => tensor.File.Path).Distinct().Order(StringComparer.Ordinal);
        byte[] buffer = new byte[1 << 20];
        foreach (string file in files.Prepend(Path.Combine(path, "config.json")))
        {
            using var stream = new FileStream(
                file, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0);
            for (int read; (read = stream.Read(buffer)) > 0;)
            {
                hash.AppendData(buffer, 0, read);
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private byte[] Serialize()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            json.WriteString("format", "interp-capture");
            json.WriteNumber("version", 1);
            WriteSource(json);
            WriteSettings(json);
            WritePoints(json);
            WriteShards(json);
            json.WriteEndObject();
        }

        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private void WriteSource(Utf8JsonWriter json)
    {
        json.WriteString("engine", typeof(Model).Assembly.GetName().Version!.ToString(3));
        // fp32 values are the same on every CPU, but the reference device sums otherwise, and narrower products depend on the instructions.
        bool narrow = _model.Loading.WeightType != ElementType.F32;
        string instructions = narrow && _model.Device is CpuDevice cpu ? $" {cpu.InstructionSet}" : "";
        json.WriteString("device", _model.Device.Name.Split(' ')[0] + instructions);
        json.WriteStartObject("model");
        json.WriteString("family", _model.Description.Family);
        json.WriteString("sha256", _modelHash);
        json.WriteString("weights", _model.Loading.WeightType.ToString());
        json.WriteString("processing", _model.Loading.Processing.ToString());
        json.WriteEndObject();
        json.WriteStartObject("input");
        json.WriteNumber("documents", _plan.Documents);
        json.WriteNumber("sequences", _plan.Sequences);
        json.WriteNumber("tokens", _plan.Tokens);
        json.WriteString("sha256", _plan.InputHash);
        json.WriteEndObject();
    }

    private void WriteSettings(Utf8JsonWriter json)
    {
        json.WriteStartObject("settings");
        json.WriteBoolean("logits", _options.Logits);
        json.WriteBoolean("loss", _options.Loss);
        json.WriteString("type", _layout.Type.ToString());
        json.WriteString("positions", Show(_options.Positions));
        json.WriteNumber("shard_bytes", _options.ShardBytes);
        json.WriteEndObject();
    }

    private void WritePoints(Utf8JsonWriter json)
    {
        json.WriteStartArray("points");
        foreach (HookPoint point in _layout.Points)
        {
            json.WriteStartObject();
            json.WriteString("name", point.Name);
            json.WriteBoolean("per_sequence", ShardLayout.IsAttention(point));
            json.WriteStartArray("shape");
            if (ShardLayout.IsAttention(point))
            {
                json.WriteNumberValue(_layout.Heads);
                json.WriteStringValue("queries");
                json.WriteStringValue("keys");
            }
            else
            {
                json.WriteStringValue("tokens");
                foreach (int axis in _layout.PerToken.First(entry => entry.Point == point).Shape)
                {
                    json.WriteNumberValue(axis);
                }
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private void WriteShards(Utf8JsonWriter json)
    {
        json.WriteBoolean(Complete, _finished.Count == _plan.Shards.Count);
        json.WriteStartArray(Shards);
        for (int i = 0; i < _finished.Count; i++)
        {
            json.WriteStartObject();
            json.WriteString("file", ShardName(i));
            json.WriteNumber("first_sequence", _plan.Shards[i].First);
            json.WriteNumber("sequences", _plan.Shards[i].Sequences);
            json.WriteNumber("tokens", _plan.Shards[i].Tokens);
            json.WriteNumber("bytes", _finished[i]);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
