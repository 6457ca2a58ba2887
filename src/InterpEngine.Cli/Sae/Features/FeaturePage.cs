using System.Buffers;
using System.IO.Compression;
using System.Text.Json;
using InterpEngine.Cli.Pages;
using InterpEngine.Dictionaries;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae.Features;

/// <summary>
/// A report as one HTML file. A short entry of every feature stands in it as JSON, for lists and searches; all else in compressed blocks of
/// some features each, which the page unpacks when it shows one of them, so that a large dictionary opens at once.
/// </summary>
internal static class FeaturePage
{
    /// <summary>Features of a block.</summary>
    private const int BlockSize = 64;

    private const int HistogramBins = 32, ShownTokens = 5, ShownLogits = 5;

    private static readonly HtmlPage s_page = new("features", "features", "Made by InterpEngine. This file is complete: it loads nothing.");

    /// <summary>Writes the file, whole or not at all, block by block.</summary>
    /// <exception cref="FileWriteException">It could not be written.</exception>
    public static void Write(string path, FeatureReport report)
    {
        (string before, string after) = s_page.Frame();
        using var file = new AtomicFile(path);
        Append(file, before);
        var tokens = new TokenTable(report);
        var index = new List<FeatureEntry>();
        foreach (FeatureEntry[] some in report.Alive().Chunk(BlockSize))
        {
            Append(file, "<script type=\"text/plain\" class=\"block\">");
            Append(file, Convert.ToBase64String(Deflated(Json(json => WriteBlock(json, some, tokens)))));
            Append(file, "</script>\n");
            index.AddRange(some.Select(entry => entry with { Nearest = [], Top = [], Drawn = [] }));
        }

        Append(file, HtmlPage.DataElement(System.Text.Encoding.UTF8.GetString(Json(json => WriteIndex(json, report, index, tokens)))));
        Append(file, after);
        file.Commit();
    }

    private static void Append(AtomicFile file, string text) => file.Write(System.Text.Encoding.UTF8.GetBytes(text));

    private static byte[] Json(Action<Utf8JsonWriter> write)
    {
        // The default encoder escapes all that could end a script element.
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            write(json);
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static byte[] Deflated(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var deflate = new DeflateStream(packed, CompressionLevel.Optimal))
        {
            deflate.Write(bytes);
        }

        return packed.ToArray();
    }

    private static void WriteIndex(Utf8JsonWriter json, FeatureReport report, List<FeatureEntry> index, TokenTable tokens)
    {
        json.WriteStartObject();
        json.WriteString("dictionary", report.Name);
        json.WriteString("model", Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(report.Site.Model.Path))));
        json.WriteString("point", report.Site.Name);
        json.WriteString("kind", report.Site.Dictionary.Config.Rule.Kind.ToString());
        json.WriteNumber("features", report.Features);
        json.WriteNumber("tokens_seen", report.Rows);
        json.WriteNumber("l0", report.Use.Density.Sum());
        json.WriteString("without_logits", report.WithoutLogits);
        json.WriteNumber("block", BlockSize);
        json.WriteNumbers("feature", index.Select(entry => entry.Feature));
        WriteFloats(json, "density", index.Select(entry => entry.Density));
        WriteFloats(json, "max", index.Select(entry => (double)entry.Histogram.Max));
        WriteFloats(json, "mean", index.Select(entry => entry.Mean));
        WriteFloats(json, "share", index.Select(entry => entry.Tokens.Count > 0 ? entry.Tokens[0].Share : 0));
        json.WriteStartArray("active");
        index.ForEach(entry => WriteNumbers(json, entry.Tokens.Take(ShownTokens).Select(token => tokens.Index(token.Token))));
        json.WriteEndArray();
        json.WriteStartArray("raises");
        index.ForEach(entry => WriteNumbers(json, entry.Effect?.Raised.Take(ShownLogits).Select(token => tokens.Index(token.Token)) ?? []));
        json.WriteEndArray();
        json.WriteStartArray("lowers");
        index.ForEach(entry => WriteNumbers(
            json, entry.Effect?.Lowered.Take(ShownLogits).Select(token => tokens.Index(token.Token)) ?? []));
        json.WriteEndArray();
        json.WriteStartArray("tokens");
        tokens.Texts.ForEach(json.WriteStringValue);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteBlock(Utf8JsonWriter json, FeatureEntry[] some, TokenTable tokens)
    {
        json.WriteStartArray();
        foreach (FeatureEntry entry in some)
        {
            json.WriteStartObject();
            json.WriteNumber("sequences", Math.Round(entry.Histogram.Count / entry.PerSequence));
            json.WriteNumber("count", entry.Histogram.Count);
            (float width, int[] counts) = entry.Histogram.Shown(HistogramBins);
            WriteFloat(json, "width", width);
            json.WriteNumbers("histogram", counts);
            WritePairs(json, "active", entry.Tokens.Select(token => (tokens.Index(token.Token), token.Share)));
            WritePairs(json, "raised", entry.Effect?.Raised.Select(token => (tokens.Index(token.Token), (double)token.Logit)) ?? []);
            WritePairs(json, "lowered", entry.Effect?.Lowered.Select(token => (tokens.Index(token.Token), (double)token.Logit)) ?? []);
            WritePairs(json, "nearest", entry.Nearest.Select(other => (other.Feature, (double)other.Cosine)));
            WriteExamples(json, "top", entry.Top, tokens);
            WriteExamples(json, "drawn", entry.Drawn, tokens);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteExamples(Utf8JsonWriter json, string name, IReadOnlyList<FeatureExample> examples, TokenTable tokens)
    {
        json.WriteStartArray(name);
        foreach (FeatureExample example in examples)
        {
            json.WriteStartObject();
            WriteFloat(json, "value", example.Value);
            json.WriteNumber("sequence", example.Sequence);
            json.WriteNumber("first", example.First);
            json.WriteNumber("peak", example.Position - example.First);
            json.WriteNumbers("tokens", example.Tokens.Select(tokens.Index));
            WritePairs(json, "active", example.Activations.Select((value, at) => (at, (double)value)).Where(pair => pair.Item2 != 0));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteNumbers(Utf8JsonWriter json, IEnumerable<int> values)
    {
        json.WriteStartArray();
        foreach (int value in values)
        {
            json.WriteNumberValue(value);
        }

        json.WriteEndArray();
    }

    private static void WritePairs(Utf8JsonWriter json, string name, IEnumerable<(int Index, double Value)> pairs)
    {
        json.WriteStartArray(name);
        foreach ((int index, double value) in pairs)
        {
            json.WriteNumberValue(index);
            json.WriteNumberValue(Short(value));
        }

        json.WriteEndArray();
    }

    private static void WriteFloats(Utf8JsonWriter json, string name, IEnumerable<double> values)
    {
        json.WriteStartArray(name);
        foreach (double value in values)
        {
            json.WriteNumberValue(Short(value));
        }

        json.WriteEndArray();
    }

    private static void WriteFloat(Utf8JsonWriter json, string name, double value) => json.WriteNumber(name, Short(value));

    /// <summary>Four digits: more than a page shows.</summary>
    private static decimal Short(double value)
    {
        if (!double.IsFinite(value) || Math.Abs(value) is < 1e-20 or > 1e20)
        {
            return 0;
        }

        int digits = 3 - (int)Math.Floor(Math.Log10(Math.Abs(value)));
        return digits < 0 ? (decimal)Math.Round(value) : Math.Round((decimal)value, Math.Min(digits, 28));
    }

    /// <summary>The tokens that a page shows, each once.</summary>
    private sealed class TokenTable(FeatureReport report)
    {
        private readonly Dictionary<int, int> _indices = [];

        public List<string> Texts { get; } = [];

        public int Index(int token)
        {
            if (!_indices.TryGetValue(token, out int index))
            {
                _indices[token] = index = Texts.Count;
                Texts.Add(report.Text(token));
            }

            return index;
        }
    }
}
