using System.CommandLine;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Scan;

/// <summary><c>interp scan</c>: the MRI of a prompt.</summary>
internal static class ScanCommand
{
    private static readonly Argument<string> s_prompt = new("prompt")
    {
        HelpName = "PROMPT",
        Description = "The text to look into.",
    };

    private static readonly Option<string> s_model = new("--model", "-m")
    {
        Description = "The model's folder; 'tales' for the small model that comes along.",
        HelpName = "MODEL",
        DefaultValueFactory = _ => "tales",
    };

    private static readonly Option<string?> s_answer = new("--answer")
    {
        Description = "The next token to explain; the likeliest unless given.",
        HelpName = "TOKEN",
    };

    private static readonly Option<string?> s_against = new("--against")
    {
        Description = "Explain why the answer rather than this token: the difference of their logits.",
        HelpName = "TOKEN",
    };

    private static readonly Option<int?> s_position = new("--position")
    {
        Description = "The token after which to look, counted from 0; the last unless given.",
        HelpName = "N",
    };

    private static readonly Option<int> s_top = new Option<int>("--top")
    {
        Description = "How many next tokens, heads and neurons to list.",
        HelpName = "K",
        DefaultValueFactory = _ => 8,
    }.AtLeast(1);

    private static readonly Option<string[]> s_dictionaries = new("--sae")
    {
        Description = "Show the features of a sparse dictionary that are active on each token; may be given several times. DIR@POINT where "
            + "its files do not say which hook point it reads; a folder of circuit-tracer is a transcoder for every layer.",
        HelpName = "DIR",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string> s_html = new("--html")
    {
        Description = "Where to write the interactive report, one HTML file that needs no network. With --json only if given.",
        HelpName = "PATH",
        DefaultValueFactory = _ => "scan.html",
    };

    private static readonly Option<bool> s_noHtml = new("--no-html") { Description = "Write no HTML file." };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "scan",
            "Show what a model predicts after a prompt, and which heads, MLPs and neurons made it.",
            "interp scan \"When Mary and John went to the park, Mary gave the ball to\"",
            "interp scan \"The capital of France is\" --against Rome",
            "interp scan \"The keys near the old door\" --model path/to/gpt2 --json",
            "interp scan \"The capital of France is\" --sae my-sae")
        {
            s_prompt, s_model, s_answer, s_against, s_position, s_top, s_dictionaries, s_html, s_noHtml, CommonOptions.Json,
        };
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.FromResult(Run(parse, cancellation)));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        Terminal terminal = Terminal.Of(parse);
        int top = parse.GetValue(s_top);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        string name = parse.GetRequiredValue(s_model);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        if (!model.Description.Causal)
        {
            return RunEncoder(parse, terminal, model, top, cancellation);
        }

        var dictionaries = new List<ScannedDictionary>();
        ScanReport report;
        try
        {
            foreach (string argument in parse.GetValue(s_dictionaries)!)
            {
                dictionaries.AddRange(ScannedDictionary.Open(argument, model));
            }

            var request = new ScanRequest(
                parse.GetRequiredValue(s_prompt),
                parse.GetValue(s_position),
                parse.GetValue(s_answer),
                parse.GetValue(s_against),
                top)
            {
                Dictionaries = dictionaries,
            };
            report = PromptScan.Run(model, request, cancellation);
        }
        finally
        {
            dictionaries.ForEach(dictionary => dictionary.Dispose());
        }

        if (parse.GetValue(CommonOptions.Json))
        {
            terminal.Out.WriteLine(report.ToJson());
        }
        else
        {
            new ScanView(terminal.Results, report, top).Write();
        }

        // A program that asks for JSON is not surprised with a file that it did not name.
        bool named = parse.GetResult(s_html) is { Implicit: false };
        if (!parse.GetValue(s_noHtml) && (named || !parse.GetValue(CommonOptions.Json)))
        {
            string path = Path.GetFullPath(parse.GetRequiredValue(s_html));
            ScanPage.Write(path, report);
            terminal.Error.WriteLine($"Wrote {path}: open it in a browser for every layer, head and neuron.");
        }

        return ExitCode.Success;
    }

    /// <summary>An encoder has no next token: no answer to explain, and no page that shows one.</summary>
    private static int RunEncoder(ParseResult parse, Terminal terminal, Model model, int top, CancellationToken cancellation)
    {
        foreach (Option option in (ReadOnlySpan<Option>)[s_answer, s_against, s_position, s_dictionaries, s_html])
        {
            if (parse.GetResult(option) is { Implicit: false })
            {
                throw new UsageException(
                    $"{option.Name} needs a model that predicts the next token; {model.Description.Family} is an encoder.",
                    "Leave it out, and write [MASK] in the prompt where the model is to fill something in.");
            }
        }

        EncoderReport report = EncoderScan.Run(model, parse.GetRequiredValue(s_prompt), top, cancellation);
        if (parse.GetValue(CommonOptions.Json))
        {
            terminal.Out.WriteLine(report.ToJson());
        }
        else
        {
            new EncoderView(terminal.Results, report, top).Write();
        }

        return ExitCode.Success;
    }
}
