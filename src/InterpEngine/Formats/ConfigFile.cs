using System.Collections.Immutable;
using System.Text.Json;

namespace InterpEngine.Formats;

/// <summary>
/// A JSON object of settings, such as a model's <c>config.json</c>. Values are read by key and type; every error names file
/// and key. A key whose value is null counts as absent. What was read is remembered, so that a setting that nobody
/// understood can be found (<see cref="UnreadKeys"/>).
/// </summary>
public sealed class ConfigFile
{
    private readonly JsonElement _object;
    private readonly string _prefix;
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ConfigFile> _nested = new(StringComparer.Ordinal);

    private ConfigFile(string path, string prefix, JsonElement element)
    {
        Path = path;
        _prefix = prefix;
        _object = element;
    }

    /// <summary>The file, as errors name it.</summary>
    public string Path { get; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidFileException">It cannot be read or is no strict JSON object.</exception>
    public static ConfigFile Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        using JsonDocument document = JsonStrict.Load(path);
        return FromRoot(path, document);
    }

    /// <summary>Reads bytes; <paramref name="name"/> names them in errors.</summary>
    /// <exception cref="InvalidFileException">They are no strict JSON object.</exception>
    public static ConfigFile Parse(ReadOnlyMemory<byte> json, string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        using JsonDocument document = JsonStrict.Parse(json, name);
        return FromRoot(name, document);
    }

    /// <summary>Whether the key is there with a value other than null. Does not count as reading it.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>Whether the key is there with the value null, where that is not the same as its absence.</summary>
    public bool IsNull(string key) =>
        _object.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Null;

    /// <summary>An integer, written as one: 12, not 12.0 or 1.2e1.</summary>
    /// <param name="key">The key.</param>
    /// <param name="minimum">The least value allowed; 1 unless told.</param>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public int Int(string key, int minimum = 1) => ToInt(key, Required(key, Expected(minimum)), minimum);

    /// <summary>As <see cref="Int"/>, or null where the key is absent.</summary>
    /// <exception cref="InvalidFileException">The value is something else.</exception>
    public int? OptionalInt(string key, int minimum = 1) =>
        Read(key) is { } value ? ToInt(key, value, minimum) : null;

    /// <summary>A finite number.</summary>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public double Double(string key) => ToDouble(key, Required(key, "a finite number"));

    /// <summary>As <see cref="Double"/>, or null where the key is absent.</summary>
    /// <exception cref="InvalidFileException">The value is something else.</exception>
    public double? OptionalDouble(string key) => Read(key) is { } value ? ToDouble(key, value) : null;

    /// <summary>True or false.</summary>
    /// <param name="key">The key.</param>
    /// <param name="ifAbsent">What an absent key means.</param>
    /// <exception cref="InvalidFileException">The value is something else.</exception>
    public bool Bool(string key, bool ifAbsent) => Read(key) switch
    {
        null => ifAbsent,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw Unexpected(key, other, "true or false"),
    };

    /// <summary>A text.</summary>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public string String(string key) => ToText(key, Required(key, "a string"));

    /// <summary>As <see cref="String"/>, or null where the key is absent.</summary>
    /// <exception cref="InvalidFileException">The value is something else.</exception>
    public string? OptionalString(string key) => Read(key) is { } value ? ToText(key, value) : null;

    /// <summary>A nested object; each call gives the same one.</summary>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public ConfigFile Object(string key)
    {
        if (_nested.TryGetValue(key, out ConfigFile? nested))
        {
            return nested;
        }

        JsonElement value = Required(key, "an object");
        return value.ValueKind == JsonValueKind.Object
            ? _nested[key] = new ConfigFile(Path, $"{_prefix}{key}.", value)
            : throw Unexpected(key, value, "an object");
    }

    /// <summary>An array of integers.</summary>
    /// <param name="key">The key.</param>
    /// <param name="minimum">The least value allowed; 0 unless told.</param>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public ImmutableArray<int> Ints(string key, int minimum = 0) =>
        Array(key, (name, item) => ToInt(name, item, minimum));

    /// <summary>An array of finite numbers.</summary>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public ImmutableArray<double> Doubles(string key) => Array(key, ToDouble);

    /// <summary>An array of texts.</summary>
    /// <exception cref="InvalidFileException">The key is absent or its value something else.</exception>
    public ImmutableArray<string> Strings(string key) => Array(key, ToText);

    /// <summary>The value itself, for keys that come in several forms.</summary>
    /// <exception cref="InvalidFileException">The key is absent.</exception>
    public JsonElement Element(string key) => Required(key, "a value");

    /// <summary>The keys with values that nobody has read so far; those of nested objects as <c>outer.inner</c>.</summary>
    public IEnumerable<string> UnreadKeys()
    {
        foreach (JsonProperty property in _object.EnumerateObject())
        {
            if (_nested.TryGetValue(property.Name, out ConfigFile? nested))
            {
                foreach (string key in nested.UnreadKeys())
                {
                    yield return key;
                }
            }
            else if (property.Value.ValueKind != JsonValueKind.Null && !_read.Contains(property.Name))
            {
                yield return _prefix + property.Name;
            }
        }
    }

    /// <summary>An error about a key's value: "config.json: 'n_head' is 7; expected …".</summary>
    /// <param name="key">The key.</param>
    /// <param name="expected">What its value ought to be.</param>
    /// <param name="hint">What the user can do, or null.</param>
    public InvalidFileException Unexpected(string key, string expected, string? hint = null) =>
        new(Path, $"'{_prefix}{key}' is {(Find(key) is { } value ? Show(value) : "missing")}; expected {expected}", hint);

    private static ConfigFile FromRoot(string path, JsonDocument document) =>
        document.RootElement.ValueKind == JsonValueKind.Object
            ? new(path, "", document.RootElement.Clone())
            : throw new InvalidFileException(path, $"is {Show(document.RootElement)}; expected a JSON object");

    private static string Show(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length > 60 ? text[..60] + "…" : text;
    }

    private static string Expected(int minimum) => minimum switch
    {
        1 => "a positive integer below 2³¹",
        0 => "a non-negative integer below 2³¹",
        int.MinValue => "a 32-bit integer",
        _ => $"an integer from {minimum} to 2³¹ − 1",
    };

    private JsonElement? Find(string key) =>
        _object.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private JsonElement? Read(string key)
    {
        _read.Add(key);
        return Find(key);
    }

    private JsonElement Required(string key, string expected) => Read(key) ?? throw Unexpected(key, expected);

    private InvalidFileException Unexpected(string key, JsonElement value, string expected) =>
        new(Path, $"'{_prefix}{key}' is {Show(value)}; expected {expected}");

    private int ToInt(string key, JsonElement value, int minimum) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= minimum
            ? number
            : throw Unexpected(key, value, Expected(minimum));

    private double ToDouble(string key, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw Unexpected(key, value, "a finite number");

    private string ToText(string key, JsonElement value) =>
        value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Unexpected(key, value, "a string");

    private ImmutableArray<T> Array<T>(string key, Func<string, JsonElement, T> convert)
    {
        JsonElement value = Required(key, "an array");
        return value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select((item, i) => convert($"{key}[{i}]", item))]
            : throw Unexpected(key, value, "an array");
    }
}
