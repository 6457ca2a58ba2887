using System.CommandLine;
using InterpEngine.Formats.Tokenizers;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary><c>interp run</c>: continues a text.</summary>
internal static class RunCommand
{
    private static readonly Argument<string> s_model = ModelSource.CreateArgument();

    private static readonly Argument<string?> s_prompt = new("prompt")
    {
        HelpName = "PROMPT",
        Description = "The text to continue.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private static readonly Option<string?> s_tokens = new("--tokens")
    {
        Description = "Token ids instead of a text: JSON or safetensors with input_ids [b, p] and optionally attention_mask.",
        HelpName = "FILE",
    };

    private static readonly Option<int> s_maxTokens = new Option<int>("--max-tokens")
    {
        Description = "New tokens at most.",
        HelpName = "N",
        DefaultValueFactory = _ => 64,
    }.AtLeast(0);

    private static readonly Option<double> s_temperature = new("--temperature")
    {
        Description = "Divides the logits before a token is drawn; 0 for the likeliest token.",
        HelpName = "T",
    };

    private static readonly Option<int> s_topK = new Option<int>("--top-k")
    {
        Description = "Draw from the K likeliest tokens only; 0 for all.",
        HelpName = "K",
    }.AtLeast(0);

    private static readonly Option<double> s_topP = new("--top-p")
    {
        Description = "Draw from the likeliest tokens that together have probability P.",
        HelpName = "P",
        DefaultValueFactory = _ => 1,
    };

    private static readonly Option<ulong> s_seed = new("--seed")
    {
        Description = "The same seed draws the same tokens.",
        HelpName = "N",
    };

    private static readonly Option<int> s_top = new Option<int>("--top")
    {
        Description = "Show the K likeliest tokens at each place.",
        HelpName = "K",
    }.AtLeast(0);

    private static readonly Option<bool> s_noBos = new("--no-bos") { Description = "Do not begin with the begin-of-text token." };

    private static readonly Option<bool> s_ignoreEos = new("--ignore-eos") { Description = "Go on after an end-of-text token." };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "run",
            "Continue a text.",
            "interp run tales \"The capital of France is\" --max-tokens 1 --top 5",
            "interp run path/to/gpt2 \"Once upon a time\" --temperature 0.8 --top-p 0.95 --seed 7",
            "interp run tales --tokens prompts.json --json")
        {
            s_model, s_prompt, s_tokens, s_maxTokens, s_temperature, s_topK, s_topP, s_seed, s_top, s_noBos, s_ignoreEos,
            CommonOptions.Json,
        };
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        GenerationOptions options = ReadOptions(parse);
        string? prompt = parse.GetValue(s_prompt), file = parse.GetValue(s_tokens);
        if ((prompt is null) == (file is null))
        {
            throw new UsageException("Give either a PROMPT or --tokens FILE.", "`interp run --help` shows how it is used.");
        }

        TokenBatch? given = file is null ? null : TokenFile.Load(file).ToBatch();
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        string name = parse.GetRequiredValue(s_model);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        TokenBatch tokens = given ?? model.Tokenize(prompt!, begin: !parse.GetValue(s_noBos));
        Tokenizer? tokenizer = given is null || File.Exists(Path.Combine(model.Path, "tokenizer.json")) ? model.Tokenizer : null;
        List<GeneratedToken>[] sequences = [.. Enumerable.Range(0, tokens.Batch).Select(_ => new List<GeneratedToken>())];
        IEnumerable<GeneratedToken?[]> steps = Record(model.Generate(tokens, options, cancellation), sequences);
        bool json = parse.GetValue(CommonOptions.Json), alternatives = options.Alternatives > 0;
        if (!json && !alternatives && tokens.Batch == 1)
        {
            RunOutput.Stream(terminal, tokenizer, prompt, steps);
        }
        else
        {
            foreach (GeneratedToken?[] _ in steps)
            {
                // Shown when all are there.
            }

            if (json)
            {
                RunOutput.WriteJson(terminal, tokens, tokenizer, prompt, sequences, alternatives);
            }
            else
            {
                RunOutput.WriteSequences(terminal, tokenizer, sequences, alternatives);
            }
        }

        bool Ended(List<GeneratedToken> sequence) => options.StopAtEnd && model.Description.EndTokens.Contains(sequence[^1].Id);
        if (sequences.Any(sequence => sequence.Count < options.MaxTokens && !Ended(sequence)))
        {
            terminal.Note($"stopped at the model's context of {model.Description.Context} tokens.");
        }

        return ExitCode.Success;
    }

    private static GenerationOptions ReadOptions(ParseResult parse)
    {
        double temperature = parse.GetValue(s_temperature), topP = parse.GetValue(s_topP);
        if (!double.IsFinite(temperature) || temperature < 0)
        {
            throw new UsageException($"--temperature is {temperature}; expected a number of at least 0.");
        }

        if (!(topP is > 0 and <= 1))
        {
            throw new UsageException($"--top-p is {topP}; expected a number above 0 and not above 1.");
        }

        return new GenerationOptions
        {
            MaxTokens = parse.GetValue(s_maxTokens),
            Temperature = temperature,
            TopK = parse.GetValue(s_topK),
            TopP = topP,
            Seed = parse.GetValue(s_seed),
            Alternatives = parse.GetValue(s_top),
            StopAtEnd = !parse.GetValue(s_ignoreEos),
        };
    }

    /// <summary>Passes the steps on and keeps each sequence's tokens.</summary>
    private static IEnumerable<GeneratedToken?[]> Record(IEnumerable<GeneratedToken?[]> steps, List<GeneratedToken>[] sequences)
    {
        foreach (GeneratedToken?[] step in steps)
        {
            for (int row = 0; row < step.Length; row++)
            {
                if (step[row] is { } token)
                {
                    sequences[row].Add(token);
                }
            }

            yield return step;
        }
    }
}
