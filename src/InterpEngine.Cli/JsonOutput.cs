using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace InterpEngine.Cli;

/// <summary>JSON on stdout: indented, snake_case, text as it is rather than escaped. docs/cli.md has the schemas.</summary>
internal static class JsonOutput
{
    private static readonly JsonWriterOptions s_options = new()
    {
        Indented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Writes one object.</summary>
    public static void Write(TextWriter output, Action<Utf8JsonWriter> properties) => Write(output, (json, _) => properties(json));

    /// <summary>Writes one object that may be large.</summary>
    /// <param name="output">Where.</param>
    /// <param name="properties">Writes its properties; calling the second argument hands on what is written so far.</param>
    public static void Write(TextWriter output, Action<Utf8JsonWriter, Action> properties)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(buffer, s_options);
        json.WriteStartObject();
        properties(json, HandOn);
        json.WriteEndObject();
        HandOn();
        output.WriteLine();

        void HandOn()
        {
            json.Flush();
            output.Write(System.Text.Encoding.UTF8.GetString(buffer.WrittenSpan));
            buffer.Clear();
        }
    }

    /// <summary>Writes a list of integers.</summary>
    public static void WriteNumbers(this Utf8JsonWriter json, string name, IEnumerable<int> values)
    {
        json.WriteStartArray(name);
        foreach (int value in values)
        {
            json.WriteNumberValue(value);
        }

        json.WriteEndArray();
    }
}
