using System.CommandLine;
using InterpEngine.Captures;
using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Cli;

/// <summary><c>interp capture</c>: activations to disk, of one batch to one file or of a corpus to a folder of shards.</summary>
internal static class CaptureCommand
{
    private static readonly Argument<string> s_model = ModelSource.CreateArgument();

    private static readonly Option<string?> s_text = new("--text")
    {
        Description = "Documents: one on each line of a text file; of a .jsonl file the \"text\" of each line's object.",
        HelpName = "FILE",
    };

    private static readonly Option<string?> s_tokens = new("--tokens")
    {
        Description = "Token ids instead of a text: JSON or safetensors with input_ids [b, p] and optionally attention_mask.",
        HelpName = "FILE",
    };

    private static readonly Option<string[]> s_points = new("--points")
    {
        Description = "Hook points: names or globs; a leading ! leaves out again. '*' is every point, the large ones included.",
        HelpName = "GLOB",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<bool> s_logits = new("--logits") { Description = "Keep the logits." };

    private static readonly Option<bool> s_loss = new("--loss") { Description = "Keep the mean next-token cross-entropy." };

    private static readonly Option<string> s_out = new("--out")
    {
        Description = "NAME.safetensors for one file, or a folder for shards with an index; there, the same command goes on.",
        HelpName = "PATH",
        Required = true,
    };

    private static readonly Option<string?> s_positions = new("--positions")
    {
        Description = "Positions to keep: one such as 0 or -1 (the last), or a range such as 3..10 or 1.. (its end is not kept).",
        HelpName = "RANGE",
    };

    private static readonly Option<string> s_type = new Option<string>("--type")
    {
        Description = "What values are stored as: F32, BF16, F16, or I8 with a scale for each row.",
        HelpName = "TYPE",
        DefaultValueFactory = _ => nameof(ElementType.F32),
    }.AcceptOnlyFromAmong(nameof(ElementType.F32), nameof(ElementType.BF16), nameof(ElementType.F16), nameof(ElementType.I8));

    private static readonly Option<int> s_context = new Option<int>("--context")
    {
        Description = "Tokens of a sequence at most; longer documents are split (for a folder by default at 1024).",
        HelpName = "N",
    }.AtLeast(1);

    private static readonly Option<int> s_batch = new Option<int>("--batch")
    {
        Description = "Sequences to run at once (default: as many as fit a moderate memory). Values do not depend on it.",
        HelpName = "N",
    }.AtLeast(1);

    private static readonly Option<string> s_shardSize = new("--shard-size")
    {
        Description = "Bytes of a shard at most, such as 64MB or 1GB.",
        HelpName = "SIZE",
        DefaultValueFactory = _ => "256MB",
    };

    private static readonly Option<bool> s_whole = new("--whole") { Description = "The whole text file is one document." };

    private static readonly Option<bool> s_noBos = new("--no-bos")
    {
        Description = "Do not begin documents with the begin-of-text token.",
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "capture",
            "Write activations to disk.",
            "interp capture tales --text prompts.txt --points 'blocks.*.hook_resid_post' --logits --out residuals.safetensors",
            "interp capture path/to/gpt2 --text corpus.jsonl --points blocks.6.hook_resid_pre --out activations --shard-size 1GB",
            "interp capture tales --tokens ids.json --points '*' '!*hook_result' --positions -1 --out last.safetensors")
        {
            s_model, s_text, s_tokens, s_points, s_logits, s_loss, s_out, s_type, s_positions, s_context, s_batch, s_shardSize, s_whole,
            s_noBos,
        };
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        string? text = parse.GetValue(s_text), tokens = parse.GetValue(s_tokens);
        if ((text is null) == (tokens is null))
        {
            throw new UsageException(
                "Give either --text FILE or --tokens FILE.", "`interp capture --help` shows how it is used.");
        }

        string[] points = parse.GetValue(s_points)!;
        if (points.Length == 0 && !parse.GetValue(s_logits) && !parse.GetValue(s_loss))
        {
            throw new UsageException(
                "There is nothing to capture.", "Give --points GLOB, --logits or --loss; `interp info MODEL` lists the points.");
        }

        Range? positions = parse.GetValue(s_positions) is { } slice ? Arguments.ParseRange("--positions", slice) : null;
        var options = new CaptureOptions
        {
            Points = HookSelection.Create(points),
            Logits = parse.GetValue(s_logits),
            Loss = parse.GetValue(s_loss),
            Positions = positions ?? Range.All,
            Type = Enum.Parse<ElementType>(parse.GetValue(s_type)!),
            ShardBytes = Arguments.ParseSize("--shard-size", parse.GetValue(s_shardSize)!),
            Batch = parse.GetValue(s_batch),
        };
        TokenFile? file = tokens is null ? null : TokenFile.Load(tokens);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        string name = parse.GetRequiredValue(s_model);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        options.Check(model);
        var corpus = new Corpus(
            model, file, text, parse.GetValue(s_whole), begin: !parse.GetValue(s_noBos), parse.GetValue(s_context));
        string target = parse.GetRequiredValue(s_out);
        if (target.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase))
        {
            CaptureFile.Write(terminal, model, corpus.AsBatch(), target, options, positions, cancellation);
        }
        else
        {
            CaptureToFolder.Run(terminal, model, corpus.Sequences(), target, options, cancellation);
        }

        return ExitCode.Success;
    }
}
