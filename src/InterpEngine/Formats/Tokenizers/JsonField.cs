using System.Globalization;
using System.Text;
using System.Text.Json;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A value in a JSON file that knows where it stands, so that every complaint names file and field.</summary>
internal readonly struct JsonField
{
    private readonly JsonElement _element;
    private readonly string _parent;
    private readonly string _name;
    private readonly int _index;

    private JsonField(JsonElement element, string file, string parent, string name, int index)
    {
        (_element, File) = (element, file);
        (_parent, _name, _index) = (parent, name, index);
    }

    public string File { get; }

    /// <summary>Where it stands, as <c>model.merges[3]</c>. Made when asked for, since vocabularies are long.</summary>
    private string Path => _index >= 0 ? string.Create(CultureInfo.InvariantCulture, $"{_parent}[{_index}]")
        : _parent.Length == 0 ? _name
        : $"{_parent}.{_name}";

    /// <summary>The name of a component's kind, or null where it has none.</summary>
    public string? Type => Optional("type")?.AsString();

    public bool IsObject => _element.ValueKind == JsonValueKind.Object;

    public bool IsArray => _element.ValueKind == JsonValueKind.Array;

    public bool IsString => _element.ValueKind == JsonValueKind.String;

    /// <summary>The value that is the whole file.</summary>
    public static JsonField Root(JsonElement element, string file) => new(element, file, "", "", -1);

    public InvalidFileException Fail(string defect, string? hint = null, Exception? inner = null) =>
        new(File, _name.Length == 0 && _index < 0 ? defect : $"{Path}: {defect}", hint, inner);

    /// <summary>A member that must be there, though it may be null.</summary>
    public JsonField Required(string name) =>
        Members().TryGetProperty(name, out JsonElement value) ? new(value, File, Path, name, -1) : throw Fail($"'{name}' is missing");

    /// <summary>A member, or null where it is absent or null.</summary>
    public JsonField? Optional(string name) =>
        Members().TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? new JsonField(value, File, Path, name, -1)
            : null;

    public bool Flag(string name, bool otherwise) => Optional(name) is not { } field ? otherwise : field._element.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw field.Fail("expected true or false"),
    };

    public string AsString()
    {
        if (!IsString)
        {
            throw Fail("expected a string");
        }

        try
        {
            return _element.GetString()!;
        }
        catch (InvalidOperationException error)
        {
            throw Fail("a string that is no valid Unicode (half of a surrogate pair)", inner: error);
        }
    }

    /// <summary>A string of one character.</summary>
    public Rune AsRune()
    {
        string text = AsString();
        return Rune.TryGetRuneAt(text.Length == 0 ? " " : text, 0, out Rune rune) && rune.Utf16SequenceLength == text.Length
            ? rune
            : throw Fail($"expected one character, found '{text}'");
    }

    /// <summary>A token id: 32 bits; one of 2³¹ or more becomes the negative number with the same bits.</summary>
    public int AsId() => _element.ValueKind == JsonValueKind.Number && _element.TryGetUInt32(out uint id)
        ? unchecked((int)id)
        : throw Fail("expected an id from 0 to 4294967295");

    public int AsCount() => _element.ValueKind == JsonValueKind.Number && _element.TryGetInt32(out int count) && count >= 0
        ? count
        : throw Fail("expected a count of 0 or more");

    public double AsNumber() => _element.ValueKind == JsonValueKind.Number && _element.TryGetDouble(out double number)
        && double.IsFinite(number)
        ? number
        : throw Fail("expected a number");

    /// <summary>The elements of an array.</summary>
    public IEnumerable<JsonField> Items()
    {
        if (!IsArray)
        {
            throw Fail("expected an array");
        }

        string path = Path;
        int index = 0;
        foreach (JsonElement element in _element.EnumerateArray())
        {
            yield return new JsonField(element, File, path, "", index++);
        }
    }

    /// <summary>The members of an object.</summary>
    public IEnumerable<(string Name, JsonField Value)> Properties()
    {
        string path = Path;
        foreach (JsonProperty property in Members().EnumerateObject())
        {
            string name;
            try
            {
                name = property.Name;
            }
            catch (InvalidOperationException error)
            {
                throw Fail("a name that is no valid Unicode (half of a surrogate pair)", inner: error);
            }

            yield return (name, new JsonField(property.Value, File, path, name, -1));
        }
    }

    private JsonElement Members() => IsObject ? _element : throw Fail("expected an object");
}
