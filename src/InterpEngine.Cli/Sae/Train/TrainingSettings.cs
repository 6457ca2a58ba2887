using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>
/// The settings of a training run: what a file and the command line say, and the defaults. The published schema is the only list of keys,
/// types, ranges and defaults: values are judged by it.
/// </summary>
internal sealed class TrainingSettings
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, NewLine = "\n" };
    private readonly Dictionary<string, JsonElement> _given;
    private readonly HashSet<string> _read = [];

    private TrainingSettings(Dictionary<string, JsonElement> given) => _given = given;

    /// <summary>The schema's text.</summary>
    public static string Schema { get; } = ReadSchema();

    /// <summary>The settings that there are, by name.</summary>
    public static IReadOnlyDictionary<string, SettingSchema> All { get; } = SettingSchema.ReadAll(Schema);

    /// <summary>Reads a file's settings, and the command line's, which go before them.</summary>
    /// <param name="path">The file, or null.</param>
    /// <param name="overrides">Options with the key and the value, JSON or plain text, that each one stands for.</param>
    /// <exception cref="InvalidFileException">The file is not as it should be.</exception>
    /// <exception cref="UsageException">An option's value is not as it should be.</exception>
    public static TrainingSettings Read(string? path, IEnumerable<(string Option, string Key, string Value)> overrides)
    {
        Dictionary<string, JsonElement> given = path is null ? [] : Load(path);
        foreach ((string option, string key, string value) in overrides)
        {
            Add(given, option, key, value);
        }

        return new TrainingSettings(given);
    }

    /// <summary>Whether a value is given, not only a default.</summary>
    public bool Gives(string key) => _given.ContainsKey(key);

    /// <summary>The same with one value that goes before.</summary>
    /// <exception cref="UsageException">It is not as it should be.</exception>
    public TrainingSettings With(string option, string key, string value)
    {
        var given = new Dictionary<string, JsonElement>(_given);
        Add(given, option, key, value);
        return new TrainingSettings(given);
    }

    /// <summary>A setting that has a value: its own or its default.</summary>
    public int Int(string key) => Value(key)!.Value.GetInt32();

    /// <summary>A setting that has a value.</summary>
    public double Number(string key) => Value(key)!.Value.GetDouble();

    /// <summary>A setting that has a value.</summary>
    public bool Bool(string key) => Value(key)!.Value.GetBoolean();

    /// <summary>A setting, or null where neither a value nor a default stands.</summary>
    public string? Text(string key) => Value(key)?.GetString();

    /// <summary>A setting, or null.</summary>
    public double? OptionalNumber(string key) => Value(key)?.GetDouble();

    /// <summary>A setting, or null.</summary>
    public int? OptionalInt(string key) => Value(key)?.GetInt32();

    /// <summary>A setting, or null.</summary>
    public bool? OptionalBool(string key) => Value(key)?.GetBoolean();

    /// <summary>A setting, or null.</summary>
    public int[]? Ints(string key) => Value(key) is { } array ? [.. array.EnumerateArray().Select(item => item.GetInt32())] : null;

    /// <summary>The settings that nobody has read so far: none, after a run.</summary>
    public IEnumerable<string> Unread => Keys().Except(_read);

    /// <summary>The given values as JSON.</summary>
    public byte[] ToJson()
    {
        var json = new JsonObject(
            All.Keys.Where(_given.ContainsKey)
                .Select(key => KeyValuePair.Create(key, (JsonNode?)JsonNode.Parse(_given[key].GetRawText()))));
        return JsonSerializer.SerializeToUtf8Bytes(json, s_indented);
    }

    /// <summary>A setting that other settings have otherwise, or null; those that change no result do not count.</summary>
    public string? DifferenceFrom(TrainingSettings other) => Keys().Where(key => key != "checkpoint_every")
        .FirstOrDefault(key => Value(key)?.GetRawText() != other.Value(key)?.GetRawText());

    /// <summary>A value as the user wrote it.</summary>
    public string Show(string key) => Value(key)?.GetRawText() ?? "not set";

    private static IEnumerable<string> Keys() => All.Keys.Where(key => !key.StartsWith('$'));

    private JsonElement? Value(string key)
    {
        _read.Add(key);
        return _given.TryGetValue(key, out JsonElement value) ? value : All[key].Default;
    }

    private static void Add(Dictionary<string, JsonElement> given, string option, string key, string value)
    {
        SettingSchema setting = All.TryGetValue(key, out SettingSchema? known) ? known
            : throw new UsageException($"{option}: there is no setting '{key}'.", $"Settings are {string.Join(", ", Keys())}.");
        JsonElement element = setting.IsText ? JsonSerializer.SerializeToElement(value) : Parse(value);
        given[key] = setting.Expected(element) is { } expected
            ? throw new UsageException($"{option} is '{value}'; expected {expected}.")
            : element;
    }

    private static Dictionary<string, JsonElement> Load(string path)
    {
        using JsonDocument document = JsonStrict.Load(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(path, "is no JSON object", $"It holds settings: {string.Join(", ", Keys())}.");
        }

        var given = new Dictionary<string, JsonElement>();
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            if (!All.TryGetValue(property.Name, out SettingSchema? setting))
            {
                throw new InvalidFileException(
                    path, $"{InputFile.Quote(property.Name)} is no setting", $"Settings are {string.Join(", ", Keys())}.");
            }

            given[property.Name] = setting.Expected(property.Value) is { } expected
                ? throw new InvalidFileException(path, $"'{property.Name}' is {Show(property.Value)}; expected {expected}")
                : property.Value.Clone();
        }

        return given;
    }

    private static string Show(JsonElement value) => value.GetRawText().ReplaceLineEndings("") is { Length: > 60 } text ? text[..60] + "…"
        : value.GetRawText();

    private static JsonElement Parse(string value)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(value);
            return document.RootElement.Clone();
        }
        catch (JsonException)
        {
            return JsonSerializer.SerializeToElement(value);
        }
    }

    private static string ReadSchema()
    {
        using Stream stream = typeof(TrainingSettings).Assembly.GetManifestResourceStream("train.schema.json")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}

/// <summary>One setting in the schema: as much of JSON Schema as settings need.</summary>
internal sealed class SettingSchema
{
    private static readonly (string Key, string Words, Func<double, double, bool> Holds)[] s_limits =
    [
        ("minimum", "of at least", (value, limit) => value >= limit),
        ("exclusiveMinimum", "above", (value, limit) => value > limit),
        ("maximum", "and at most", (value, limit) => value <= limit),
        ("exclusiveMaximum", "and below", (value, limit) => value < limit),
    ];

    private readonly JsonElement _schema;
    private readonly string[]? _choices;
    private readonly string? _type;

    private SettingSchema(JsonElement schema)
    {
        _schema = schema;
        _choices = schema.TryGetProperty("enum", out JsonElement choices)
            ? [.. choices.EnumerateArray().Select(choice => choice.GetString()!)] : null;
        _type = schema.TryGetProperty("type", out JsonElement type) ? type.GetString() : null;
        Default = schema.TryGetProperty("default", out JsonElement value) ? value : null;
    }

    /// <summary>What an absent value means; null where something else decides.</summary>
    public JsonElement? Default { get; }

    /// <summary>Whether values are text.</summary>
    public bool IsText => _choices is not null || _type == "string";

    /// <summary>The texts that it may be, or null.</summary>
    public IReadOnlyList<string>? Choices => _choices;

    /// <summary>What it is.</summary>
    public string Description => _schema.GetProperty("description").GetString()!;

    /// <summary>Reads all properties of a schema.</summary>
    public static IReadOnlyDictionary<string, SettingSchema> ReadAll(string schema)
    {
        JsonElement root = JsonDocument.Parse(schema).RootElement;
        return root.GetProperty("properties").EnumerateObject()
            .ToDictionary(property => property.Name, property => new SettingSchema(property.Value));
    }

    /// <summary>What a value ought to be; null where it is that.</summary>
    public string? Expected(JsonElement value)
    {
        bool fits = _choices is not null ? value.ValueKind == JsonValueKind.String && _choices.Contains(value.GetString())
            : _type switch
            {
                "string" => value.ValueKind == JsonValueKind.String,
                "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
                "integer" => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out _) && InRange(value.GetDouble()),
                "number" => value.ValueKind == JsonValueKind.Number && double.IsFinite(value.GetDouble()) && InRange(value.GetDouble()),
                _ => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0
                    && value.EnumerateArray().All(item => Items.Expected(item) is null),
            };
        return fits ? null : Phrase;
    }

    private SettingSchema Items => new(_schema.GetProperty("items"));

    /// <summary>What a value ought to be, in words.</summary>
    public string Phrase => _choices is not null ? string.Join(", ", _choices[..^1]) + $" or {_choices[^1]}" : _type switch
    {
        "string" => "a text",
        "boolean" => "true or false",
        "array" => $"a list, each of it {Items.Phrase}",
        _ => (_type == "integer" ? "an integer" : "a number") + string.Concat(Limits().Select(limit => $" {limit.Words} {limit.Show}")),
    };

    private bool InRange(double value) => Limits().All(limit => limit.Holds(value));

    private IEnumerable<(string Words, string Show, Func<double, bool> Holds)> Limits()
    {
        foreach ((string key, string words, Func<double, double, bool> holds) in s_limits)
        {
            if (_schema.TryGetProperty(key, out JsonElement limit))
            {
                yield return (words, limit.GetDouble().ToString(CultureInfo.InvariantCulture), value => holds(value, limit.GetDouble()));
            }
        }
    }
}
