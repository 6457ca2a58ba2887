using System.Globalization;
using System.Text;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>
/// As much YAML as transcoder sets are described in: <c>key: text</c>, keys of one nested level (as <c>outer.inner</c>) and lists of texts.
/// Anything else is refused.
/// </summary>
internal sealed class YamlSettings
{
    private const int MaxBytes = 1 << 20;
    private readonly Dictionary<string, string> _texts = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<string>> _lists = new(StringComparer.Ordinal);

    private YamlSettings(string path) => Path = path;

    public string Path { get; }

    public static YamlSettings Load(string path)
    {
        byte[] bytes = InputFile.ReadAll(path, MaxBytes);
        var settings = new YamlSettings(path);
        try
        {
            settings.Parse(new UTF8Encoding(false, true).GetString(bytes));
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidFileException(path, "is not valid UTF-8", inner: e);
        }

        return settings;
    }

    public string? Text(string key) => _texts.GetValueOrDefault(key);

    public IReadOnlyList<string>? List(string key) => _lists.GetValueOrDefault(key);

    public int? Natural(string key) => Text(key) is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value
        : throw new InvalidFileException(Path, $"'{key}' is {InputFile.Quote(text)}; expected a natural number");

    private void Parse(string yaml)
    {
        string? outer = null;
        int number = 0;
        foreach (string raw in yaml.Split('\n'))
        {
            number++;
            string line = raw.TrimEnd('\r', ' ');
            string content = line.TrimStart(' ');
            if (content.Length == 0 || content[0] == '#' || content == "---")
            {
                continue;
            }

            if (content.StartsWith("- ", StringComparison.Ordinal) && outer is not null)
            {
                if (!_lists.TryGetValue(outer, out List<string>? list))
                {
                    _lists[outer] = list = [];
                }

                list.Add(Value(content[2..], number));
                continue;
            }

            int colon = content.IndexOf(':', StringComparison.Ordinal);
            bool nested = line.Length > content.Length;
            if (colon <= 0 || (nested && outer is null))
            {
                throw Defect(number);
            }

            string key = content[..colon], value = content[(colon + 1)..].Trim();
            outer = nested ? outer : key;
            string name = nested ? $"{outer}.{key}" : key;
            if (value.Length > 0 && !_texts.TryAdd(name, Value(value, number)))
            {
                throw new InvalidFileException(Path, $"line {number}: the key {InputFile.Quote(name)} is given twice");
            }
        }
    }

    private string Value(string text, int line)
    {
        string value = text.Trim();
        if (value.Length >= 2 && value[0] is '"' or '\'' && value[^1] == value[0])
        {
            return value[1..^1].Contains('\\', StringComparison.Ordinal) ? throw Defect(line) : value[1..^1];
        }

        return value.Length == 0 || value[0] is '[' or '{' or '&' or '*' or '!' or '|' or '>' or '%' or '@' or '"' or '\'' ? throw Defect(line) : value;
    }

    private InvalidFileException Defect(int line) => new(
        Path, $"line {line} is no plain 'key: value' or '- value'", "Only simple settings are read: one value or list for each key.");
}
