using System.Globalization;
using System.Text;
using System.Text.Json;
using InterpEngine.Cli.Sae.Train;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests.Sae;

/// <summary>The published schema, the reader and docs/sae-train.md say the same.</summary>
public sealed class TrainingSettingsTests
{
    public static IEnumerable<TheoryDataRow<string>> Keys() =>
        TrainingSettings.All.Keys.Where(key => key != "$schema").Select(key => new TheoryDataRow<string>(key));

    [Theory]
    [MemberData(nameof(Keys))]
    public void A_setting_takes_what_its_schema_allows_and_nothing_else(string key)
    {
        JsonElement schema = JsonDocument.Parse(TrainingSettings.Schema).RootElement.GetProperty("properties").GetProperty(key);
        string type = schema.TryGetProperty("enum", out JsonElement choices) ? "enum" : schema.GetProperty("type").GetString()!;
        double Limit(string name, double ifAbsent) => schema.TryGetProperty(name, out JsonElement limit) ? limit.GetDouble() : ifAbsent;
        double least = Limit("minimum", Limit("exclusiveMinimum", double.NaN)),
            most = Limit("maximum", Limit("exclusiveMaximum", double.NaN));
        string Show(double value) => value.ToString(CultureInfo.InvariantCulture);
        string[] good = type switch
        {
            "enum" => [.. choices.EnumerateArray().Select(choice => choice.GetRawText())],
            "string" => ["\"some text\""],
            "boolean" => ["true", "false"],
            "array" => ["[1, 2]"],
            "integer" => [Show(Math.Max(least, 3))],
            _ => ["0.5"],
        };
        string[] bad = type switch
        {
            "enum" => ["\"other\"", "1"],
            "string" => ["1", "true"],
            "boolean" => ["1", "\"true\""],
            "array" => ["[]", "[0]", "[1.5]", "3"],
            "integer" => [Show(least - 1), "1.5", "\"3\"", "1e30", "[3]"],
            _ => [Show(least - 1), double.IsNaN(most) ? "true"
                : Show(most + 1), "\"0.5\"", schema.TryGetProperty("exclusiveMinimum", out _) ? "0" : "{}"],
        };
        Assert.All(good, value => Assert.Equal(value, Read(key, value).Show(key)));
        Assert.All(bad, value =>
        {
            InvalidFileException error = Assert.Throws<InvalidFileException>(() => Read(key, value));
            Assert.Contains($"'{key}' is ", error.Message, StringComparison.Ordinal);
            Assert.Contains("expected", error.Message, StringComparison.Ordinal);
        });
        if (schema.TryGetProperty("default", out JsonElement value))
        {
            Assert.Null(TrainingSettings.All[key].Expected(value));
        }
    }

    [Fact]
    public void The_page_of_settings_is_what_the_schema_says()
    {
        var text = new StringBuilder("""
            # Settings of `interp sae train`

            A JSON object in a file that `--config` names, or `--set KEY=VALUE` on the command line, which goes before it. Unknown keys and
            values out of range are refused by name. `interp sae train --schema` prints the JSON schema, which editors understand. Where no
            default stands, the recipe decides. This page is made from the schema by `TrainingSettingsTests`, which fails when it is stale; run
            it with `INTERP_WRITE_DOCS=1` to write the page anew.

            | key | value | default | |
            |---|---|---|---|

            """);
        foreach ((string key, SettingSchema setting) in TrainingSettings.All.Where(setting => setting.Key != "$schema"))
        {
            string value = setting.Choices is { } choices ? string.Join(", ", choices.Select(choice => $"`{choice}`")) : setting.Phrase;
            text.Append(CultureInfo.InvariantCulture, $"| `{key}` | {value} | {setting.Default?.GetRawText()} | {setting.Description} |\n");
        }

        string path = Path.Combine(Goldens.Repository, "docs", "sae-train.md"), page = text.ToString().ReplaceLineEndings("\n");
        if (Environment.GetEnvironmentVariable("INTERP_WRITE_DOCS") == "1")
        {
            File.WriteAllText(path, page);
        }

        Assert.Equal(page, File.ReadAllText(path).ReplaceLineEndings("\n"));
    }

    [Fact]
    public void A_run_reads_every_setting()
    {
        using var folder = new TemporaryFolder();
        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        TrainingSettings settings = TrainingSettings.Read(
            null, [("", "model", "tales"), ("", "steps", "1"), ("", "architecture", "matryoshka")]);
        using (var run = new TrainingRun(model, settings.Text("model")!, (settings, new TrainingFolder(folder.Path))))
        {
            run.Run(Terminal.Of(TextWriter.Null, TextWriter.Null), plot: null, TestContext.Current.CancellationToken);
        }

        Assert.Empty(settings.Unread);
    }

    [Fact]
    public async Task The_schema_is_printed() =>
        Assert.Equal(TrainingSettings.Schema, await CommandLine.Success("sae", "train", "--schema"));

    private static TrainingSettings Read(string key, string value)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["settings.json"], $$"""{"{{key}}": {{value}}}""");
        return TrainingSettings.Read(folder["settings.json"], []);
    }
}
