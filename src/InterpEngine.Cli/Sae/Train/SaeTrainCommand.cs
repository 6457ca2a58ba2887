using System.CommandLine;
using System.Text.Json;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae.Train;

/// <summary><c>interp sae train</c>: a dictionary straight from a running model.</summary>
internal static class SaeTrainCommand
{
    private static readonly Argument<string?> s_model = new("model")
    {
        HelpName = "MODEL",
        Description = "The model's folder, or 'tales' for the one that comes along.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private static readonly Option<string?> s_out = new("--out") { Description = "The folder of the dictionary.", HelpName = "DIR" };

    private static readonly Option<string?> s_config = new("--config")
    {
        Description = "A JSON file of settings, for which --schema prints the schema. The command line goes before it.",
        HelpName = "FILE",
    };

    private static readonly Option<string[]> s_set = new("--set")
    {
        Description = "A setting, such as rate=0.0003 or architecture=jumprelu.",
        HelpName = "KEY=VALUE",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string[]> s_sweep = new("--sweep")
    {
        Description = "Several values of a setting: a dictionary for each, in folders of their own below DIR, all from the same rows.",
        HelpName = "KEY=A,B,…",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => [],
    };

    /// <summary>Settings that have options of their own.</summary>
    private static readonly (Option<string?> Option, string Key)[] s_short =
    [
        (SaeTexts.Text, "text"),
        (Short("--point", "NAME", "The hook point, such as blocks.2.hook_resid_post."), "point"),
        (Short("--features", "N", "Features."), "features"),
        (Short("--k", "N", "Active features of a row."), "k"),
        (Short("--steps", "N", "Steps."), "steps"),
        (Short("--seed", "N", "Of the first directions and of the order of rows."), "seed"),
        (Short("--checkpoint-every", "N", "Steps between checkpoints; 0 for none."), "checkpoint_every"),
    ];

    private static readonly Option<bool> s_resume = new("--resume") { Description = "Go on from the checkpoint in DIR." };

    private static readonly Option<bool> s_overwrite = new(
        "--overwrite")
    { Description = "Begin anew where DIR already holds a dictionary or a run." };

    private static readonly Option<string?> s_plot = new("--plot")
    {
        Description = "An HTML file that shows the course of the run, live: a browser loads it again by itself.",
        HelpName = "FILE",
    };

    private static readonly Option<bool> s_schema = new(
        "--schema")
    { Description = "Print the JSON schema of the settings, and do nothing else." };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "train",
            "Train a sparse dictionary on a model's activations.",
            "interp sae train tales --out my-sae",
            "interp sae train path/to/gpt2 --text corpus.jsonl --point blocks.6.hook_resid_pre --features 16384 --k 32 --steps 20000 --out my-sae",
            "interp sae train --config run.json --set architecture=jumprelu rate=0.0003 --out my-sae --plot course.html",
            "interp sae train tales --sweep k=4,8,16 features=512,1024 --out my-saes",
            "interp sae train --config run.json --out my-sae --resume")
        {
            s_model, s_out, s_config, s_set, s_sweep,
        };
        foreach (Option option in (Option[])[
            .. s_short.Select(setting => setting.Option), s_resume, s_overwrite, s_plot, s_schema, CommonOptions.Json])
        {
            command.Options.Add(option);
        }

        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        if (parse.GetValue(s_schema))
        {
            terminal.Out.Write(TrainingSettings.Schema);
            return ExitCode.Success;
        }

        TrainingSettings settings = TrainingSettings.Read(parse.GetValue(s_config), Overrides(parse));
        string folder = parse.GetValue(s_out) ?? throw new UsageException("Where to?", "Give --out DIR.");
        string name = settings.Text("model")
            ?? throw new UsageException("Which model?", "Name it: `interp sae train MODEL --out DIR`, or 'model' in the settings.");
        (TrainingSettings Settings, TrainingFolder Folder)[] dictionaries = [.. TrainingSweep.Of(settings, parse.GetValue(s_sweep)!, folder)];
        foreach ((TrainingSettings own, TrainingFolder place) in dictionaries)
        {
            place.Check(own, parse.GetValue(s_resume), parse.GetValue(s_overwrite));
        }

        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        using var training = new TrainingRun(model, name, dictionaries);
        IReadOnlyList<TrainingSummary> summaries = training.Run(
            terminal, parse.GetValue(s_plot) is { } plot ? Path.GetFullPath(plot) : null, cancellation);
        if (!parse.GetValue(CommonOptions.Json))
        {
            terminal.Out.WriteLine(string.Join(terminal.Out.NewLine, summaries));
        }
        else if (parse.GetValue(s_sweep)!.Length == 0)
        {
            JsonOutput.Write(terminal.Out, summaries[0].WriteTo);
        }
        else
        {
            JsonOutput.Write(terminal.Out, json => WriteAll(json, summaries));
        }

        return ExitCode.Success;
    }

    private static void WriteAll(Utf8JsonWriter json, IReadOnlyList<TrainingSummary> summaries)
    {
        json.WriteStartArray("dictionaries");
        foreach (TrainingSummary summary in summaries)
        {
            json.WriteStartObject();
            summary.WriteTo(json);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static Option<string?> Short(string name, string help, string description) =>
        new(name) { HelpName = help, Description = description };

    /// <summary>The settings on the command line, in the order in which they go before each other.</summary>
    private static IEnumerable<(string Option, string Key, string Value)> Overrides(ParseResult parse)
    {
        if (parse.GetValue(s_model) is { } model)
        {
            yield return ("MODEL", "model", model);
        }

        foreach ((Option<string?> option, string key) in s_short)
        {
            if (parse.GetValue(option) is { } value)
            {
                yield return (option.Name, key, value);
            }
        }

        foreach (string setting in parse.GetValue(s_set)!)
        {
            int at = setting.IndexOf('=', StringComparison.Ordinal);
            yield return at > 0
                ? ($"--set {setting[..at]}", setting[..at], setting[(at + 1)..])
                : throw new UsageException($"--set is '{setting}'; expected KEY=VALUE.", "`interp sae train --schema` prints the keys.");
        }
    }
}
