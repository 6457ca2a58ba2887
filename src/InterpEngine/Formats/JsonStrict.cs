using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Unicode;

namespace InterpEngine.Formats;

/// <summary>
/// JSON read without charity: UTF-8 without a byte order mark, no comments, no trailing commas, no key twice in one object
/// (two readers would see two different files), bounded depth, and every string real Unicode, so that
/// <see cref="JsonElement.GetString"/> never throws later.
/// </summary>
internal static class JsonStrict
{
    /// <summary>The longest JSON file that is read, in bytes.</summary>
    public const int MaxBytes = 100_000_000;

    private const int MaxDepth = 64;

    private static readonly JsonDocumentOptions s_options = new() { AllowDuplicateProperties = false, MaxDepth = MaxDepth };

    /// <summary>Reads and parses a file.</summary>
    /// <exception cref="InvalidFileException">It cannot be read or is no strict JSON.</exception>
    public static JsonDocument Load(string path) => Parse(InputFile.ReadAll(path, MaxBytes), path);

    /// <summary>Parses bytes; <paramref name="path"/> names them in errors.</summary>
    /// <exception cref="InvalidFileException">They are no strict JSON.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> json, string path)
    {
        if (json.Span.StartsWith("\uFEFF"u8))
        {
            throw new InvalidFileException(path, "the JSON begins with a byte order mark", "Save it as UTF-8 without a BOM.");
        }

        if (!Utf8.IsValid(json.Span))
        {
            throw new InvalidFileException(path, "the JSON is not valid UTF-8");
        }

        try
        {
            CheckEscapes(json.Span);
            return JsonDocument.Parse(json, s_options);
        }
        catch (JsonException e)
        {
            throw new InvalidFileException(path, $"is no valid JSON: {e.Message}", inner: e);
        }
        catch (InvalidOperationException e)
        {
            throw new InvalidFileException(path, "a JSON string holds half a surrogate pair, which is no text", inner: e);
        }
    }

    /// <summary>A plain JSON integer that is not negative: no sign, fraction or exponent, below 2⁶³.</summary>
    public static bool TryGetNatural(JsonElement element, out long value)
    {
        value = 0;
        return element.ValueKind == JsonValueKind.Number
            && JsonMarshal.GetRawUtf8Value(element)[0] != (byte)'-'
            && element.TryGetInt64(out value);
    }

    // Utf8JsonReader finds a lone surrogate escape only when the string is asked for, and then throws InvalidOperationException.
    private static void CheckEscapes(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        while (reader.Read())
        {
            if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName && reader.ValueIsEscaped)
            {
                _ = reader.GetString();
            }
        }
    }
}
