using System.Text;
using System.Text.Json;
using InterpEngine.Formats;

namespace InterpEngine.Cli;

/// <summary>Texts from a file in UTF-8.</summary>
internal static class TextFile
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The whole text.</summary>
    /// <exception cref="InvalidFileException">It cannot be read or is no UTF-8.</exception>
    public static string ReadAll(string path) => Guard(path, () => File.ReadAllText(path, s_strict));

    /// <summary>
    /// The documents of a file, in order: of .jsonl the "text" of each line's object, of any other file each line; lines without
    /// text count as documents too, so that numbers are those of the lines.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="whole">Whether the whole file is one document.</param>
    /// <exception cref="InvalidFileException">It cannot be read, is no UTF-8, or a line is not as it should be.</exception>
    public static IEnumerable<string> Documents(string path, bool whole)
    {
        if (whole)
        {
            yield return ReadAll(path);
            yield break;
        }

        bool json = path.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase);
        using StreamReader reader = Guard(path, () => new StreamReader(path, s_strict));
        for (int number = 1; Guard(path, reader.ReadLine) is { } line; number++)
        {
            yield return json ? ReadObject(path, line, number) : line;
        }
    }

    private static string ReadObject(string path, string line, int number)
    {
        if (string.IsNullOrWhiteSpace(line))
        {
            return "";
        }

        using JsonDocument document = JsonStrict.Parse(Encoding.UTF8.GetBytes(line), $"{path}, line {number}");
        return document.RootElement.ValueKind == JsonValueKind.Object
            && document.RootElement.TryGetProperty("text", out JsonElement text) && text.ValueKind == JsonValueKind.String
            ? text.GetString()!
            : throw new InvalidFileException($"{path}, line {number}", "expected a JSON object with a string 'text'");
    }

    private static T Guard<T>(string path, Func<T> read)
    {
        try
        {
            return InputFile.Guard(path, read);
        }
        catch (InvalidFileException e) when (e.InnerException is DecoderFallbackException)
        {
            throw new InvalidFileException(path, "is not valid UTF-8", "Convert it to UTF-8 first.", e);
        }
        catch (OutOfMemoryException e)
        {
            throw new InvalidFileException(path, "is too large to be one text", "Split it into documents.", e);
        }
    }
}
