using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Spectre.Console;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae eval</c>: how good a dictionary is on texts.</summary>
internal static class SaeEvalCommand
{
    private static readonly Argument<string> s_dictionary = SaeCommand.CreateArgument();

    private static readonly SaeTexts s_texts = new();

    private static readonly Option<float> s_scale = new("--input-scale")
    {
        Description = "What activations are multiplied by for the dictionary, and its output divided by.",
        HelpName = "FACTOR",
        DefaultValueFactory = _ => 1,
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "eval",
            "Evaluate a dictionary on texts: reconstruction, sparsity, and what it costs the model.",
            "interp sae eval path/to/sae --model tales --text stories.txt",
            "interp sae eval path/to/sae --model path/to/gpt2 --text corpus.jsonl --context 128 --json")
        {
            s_dictionary, s_scale, CommonOptions.Json,
        };
        s_texts.AddTo(command);
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using SparseDictionary dictionary = SparseDictionary.Load(parse.GetRequiredValue(s_dictionary), device);
        using Model model = SaeTexts.Open(parse, device, terminal, cancellation);
        var evaluator = new DictionaryEvaluator(model, dictionary, new EvaluationOptions
        {
            Point = parse.GetValue(PackedTexts.Point),
            IgnoredTokens = s_texts.Ignored(parse, model),
            InputScale = parse.GetValue(s_scale),
        });
        DictionaryEvaluation result = terminal.Busy("Evaluating", () =>
        {
            foreach (TokenBatch batch in s_texts.Batches(parse, model))
            {
                evaluator.Add(batch, cancellation);
            }

            return evaluator.Result();
        });
        JsonObject json = result.ToJson();
        json["features"] = new JsonObject
        {
            ["count"] = dictionary.Config.Features,
            ["dead"] = result.Use.Dead,
            ["log10_density_histogram"] = new JsonObject
            {
                ["lowest"] = -6,
                ["highest"] = 0,
                ["counts"] = new JsonArray([.. result.Use.DensityHistogram().Select(count => JsonValue.Create(count))]),
            },
        };
        if (parse.GetValue(CommonOptions.Json))
        {
            terminal.Out.WriteLine(json.ToJsonString(new System.Text.Json.JsonSerializerOptions { WriteIndented = true, NewLine = "\n" }));
            return ExitCode.Success;
        }

        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("measure").AddColumn(new TableColumn("value").RightAligned());
        foreach ((string group, JsonNode? values) in json)
        {
            foreach ((string name, JsonNode? value) in values!.AsObject().Where(entry => entry.Value is JsonValue or null))
            {
                table.AddRow(new Text($"{group}.{name}"), new Text(value is null ? "none" : Show(value)));
            }
        }

        terminal.Results.Write(table);
        return ExitCode.Success;
    }

    private static string Show(JsonNode value) =>
        System.Text.Json.JsonSerializer.Deserialize<double>(value).ToString("G6", CultureInfo.InvariantCulture);
}
