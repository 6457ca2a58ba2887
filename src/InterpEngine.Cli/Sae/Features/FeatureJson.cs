using System.Text.Json;
using InterpEngine.Dictionaries;

namespace InterpEngine.Cli.Sae.Features;

/// <summary>A report as JSON, feature by feature: docs/cli.md has the schema.</summary>
internal static class FeatureJson
{
    private const int HistogramBins = 32;

    /// <summary>Writes it all.</summary>
    /// <param name="json">Where.</param>
    /// <param name="handOn">Called after every feature.</param>
    /// <param name="report">What.</param>
    public static void Write(Utf8JsonWriter json, Action handOn, FeatureReport report)
    {
        json.WriteString("dictionary", report.Name);
        json.WriteString("model", report.Site.Model.Path);
        json.WriteString("point", report.Site.Name);
        json.WriteNumber("features", report.Features);
        json.WriteNumber("tokens", report.Rows);
        json.WriteNumber("dead", report.Use.Dead);
        WriteDensities(json, report.Use);
        json.WriteStartArray("alive");
        foreach (FeatureEntry entry in report.Alive())
        {
            json.WriteStartObject();
            WriteFeature(json, report, entry);
            json.WriteEndObject();
            handOn();
        }

        json.WriteEndArray();
    }

    /// <summary>The histogram of densities.</summary>
    public static void WriteDensities(Utf8JsonWriter json, FeatureUse use)
    {
        json.WriteStartObject("log10_density_histogram");
        json.WriteNumber("lowest", -6);
        json.WriteNumber("highest", 0);
        json.WriteNumbers("counts", use.DensityHistogram());
        json.WriteEndObject();
    }

    private static void WriteFeature(Utf8JsonWriter json, FeatureReport report, FeatureEntry entry)
    {
        json.WriteNumber("feature", entry.Feature);
        json.WriteNumber("density", entry.Density);
        json.WriteNumber("max", entry.Histogram.Max);
        json.WriteNumber("mean", entry.Mean);
        json.WriteNumber("per_sequence", entry.PerSequence);
        (float width, int[] counts) = entry.Histogram.Shown(HistogramBins);
        json.WriteStartObject("histogram");
        json.WriteNumber("width", width);
        json.WriteNumbers("counts", counts);
        json.WriteEndObject();
        WriteList("active_on", entry.Tokens, token =>
        {
            WriteToken(token.Token);
            json.WriteNumber("share", token.Share);
        });
        WriteList("raises", entry.Effect?.Raised ?? [], WriteLogit);
        WriteList("lowers", entry.Effect?.Lowered ?? [], WriteLogit);
        WriteList("nearest", entry.Nearest, other =>
        {
            json.WriteNumber("feature", other.Feature);
            json.WriteNumber("cosine", other.Cosine);
        });
        WriteList("top", entry.Top, WriteExample);
        WriteList("drawn", entry.Drawn, WriteExample);

        void WriteList<T>(string name, IEnumerable<T> items, Action<T> write)
        {
            json.WriteStartArray(name);
            foreach (T item in items)
            {
                json.WriteStartObject();
                write(item);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        void WriteToken(int token)
        {
            json.WriteNumber("id", token);
            json.WriteString("text", report.Text(token));
        }

        void WriteLogit(TokenLogit token)
        {
            WriteToken(token.Token);
            json.WriteNumber("logit", token.Logit);
        }

        void WriteExample(FeatureExample example)
        {
            json.WriteNumber("value", example.Value);
            json.WriteNumber("sequence", example.Sequence);
            json.WriteNumber("position", example.Position);
            json.WriteNumber("first", example.First);
            json.WriteNumbers("ids", example.Tokens);
            json.WriteString("text", report.Site.Model.Tokenizer.Decode([.. example.Tokens]));
            json.WriteStartArray("activations");
            foreach (float value in example.Activations)
            {
                json.WriteNumberValue(value);
            }

            json.WriteEndArray();
        }
    }
}
