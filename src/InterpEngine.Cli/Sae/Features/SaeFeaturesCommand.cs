using System.CommandLine;
using System.Globalization;
using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae.Features;

/// <summary>
/// <c>interp sae features</c>: what each feature stands for: where it is most active, how often, which tokens it raises; as one HTML file
/// and as JSON.
/// </summary>
internal static class SaeFeaturesCommand
{
    private static readonly Option<string> s_out = new("--out")
    {
        Description = "The HTML file. With --json only if given.",
        HelpName = "FILE",
        DefaultValueFactory = _ => "features.html",
    };

    private static readonly Option<int> s_examples = new Option<int>("--examples")
    {
        Description = "Examples of each feature where it is most active; half as many more are drawn at random.",
        HelpName = "N",
        DefaultValueFactory = _ => 10,
    }.AtLeast(1);

    public static Command Create()
    {
        var command = new ExampleCommand(
            "features",
            "Write a browser of a dictionary's features: one HTML file that needs no network.",
            "interp sae features my-sae",
            "interp sae features path/to/sae --model path/to/gpt2 --text corpus.jsonl --tokens 1000000 --out features.html",
            "interp sae features my-sae --json > features.json")
        {
            s_out, s_examples, CommonOptions.Json,
        };
        DictionaryArgument.AddTo(command);
        SaeTexts.AddTo(command);
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using SparseDictionary dictionary = DictionaryArgument.Load(parse, device);
        using Model model = SaeTexts.Open(parse, dictionary.Config, device, terminal, cancellation);
        var site = new DictionarySite(model, dictionary, parse.GetValue(SaeTexts.Point));
        int examples = parse.GetValue(s_examples);
        var activity = new FeatureActivity(dictionary.Config.Features, new() { Top = examples, Drawn = examples / 2 });
        IReadOnlySet<int> ignored = SaeTexts.Ignored(parse, model);
        SaeTexts.Each(parse, model, terminal, "Looking", tokens =>
        {
            using RunResult run = model.Run(tokens, site.Options, cancellation);
            using Encoding encoding = site.Encode(run.Cache);
            activity.Add(tokens, encoding.Features, ignored);
        });
        if (activity.Use.Tokens == 0)
        {
            throw new UsageException("The texts have no token that counts.", "Give longer texts.");
        }

        var report = new FeatureReport(site, DictionaryArgument.NameOf(parse), activity);
        bool asJson = parse.GetValue(CommonOptions.Json);
        if (asJson)
        {
            JsonOutput.Write(terminal.Out, (json, handOn) => FeatureJson.Write(json, handOn, report));
        }

        if (!asJson || parse.GetResult(s_out) is { Implicit: false })
        {
            string path = Path.GetFullPath(parse.GetRequiredValue(s_out));
            terminal.Busy("Writing", () =>
            {
                FeaturePage.Write(path, report);
                return true;
            });
            terminal.Note(string.Create(
                CultureInfo.InvariantCulture,
                $"{report.Features - report.Use.Dead} of {report.Features} features were active in {report.Rows:N0} tokens. "
                + $"Open {path} in a browser."));
        }

        return ExitCode.Success;
    }
}
