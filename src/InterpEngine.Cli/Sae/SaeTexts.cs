using System.CommandLine;
using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae;

/// <summary>The model and the texts that a dictionary is looked at with: options that several commands share.</summary>
internal static class SaeTexts
{
    /// <summary>Other text than the dictionary was trained on.</summary>
    public const int HeldOutSeed = 2000;

    /// <summary>The model that a dictionary belongs to.</summary>
    public static Option<string?> ModelName { get; } = new("--model")
    {
        Description = "The model that the dictionary belongs to: its folder, or 'tales' for the one that comes along (default: the one that "
            + "the dictionary's files name).",
        HelpName = "MODEL",
    };

    /// <summary>A file of texts.</summary>
    public static Option<string?> Text { get; } = new("--text")
    {
        Description = "Documents: one on each line of a text file; of a .jsonl file the \"text\" of each line's object (default for the "
            + "model 'tales': its own language).",
        HelpName = "FILE",
    };

    /// <summary>Where a dictionary reads.</summary>
    public static Option<string?> Point { get; } = new("--point")
    {
        Description = "The hook point that it reads (default: the one that the dictionary's files name).",
        HelpName = "NAME",
    };

    private static readonly Option<int> s_context = new Option<int>("--context")
    {
        Description = "Tokens of a sequence: documents are joined and cut.",
        HelpName = "N",
        DefaultValueFactory = _ => 128,
    }.AtLeast(2);

    private static readonly Option<int> s_batch = new Option<int>("--batch")
    {
        Description = "Sequences to run at once.",
        HelpName = "N",
        DefaultValueFactory = _ => 16,
    }.AtLeast(1);

    private static readonly Option<int> s_tokens = new Option<int>("--tokens")
    {
        Description = "Tokens to look at, at most; 0 for the whole file.",
        HelpName = "N",
        DefaultValueFactory = _ => 100_000,
    }.AtLeast(0);

    private static readonly Option<bool> s_special = new("--with-special")
    {
        Description = "Count special tokens too, and replace activations there.",
    };

    private static readonly Option<bool> s_noBos = new("--no-bos")
    {
        Description = "Do not begin sequences that are cut from within a document with the begin-of-text token.",
    };

    /// <summary>Adds the options to a command.</summary>
    public static void AddTo(Command command)
    {
        foreach (Option option in (Option[])[ModelName, Text, Point, s_context, s_batch, s_tokens, s_special, s_noBos])
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Loads the model.</summary>
    public static Model Open(ParseResult parse, DictionaryConfig config, Device device, Terminal terminal, CancellationToken cancellation)
    {
        string name = parse.GetValue(ModelName) ?? config.ModelName
            ?? throw new UsageException("The dictionary's files do not say which model it belongs to.", "Give --model MODEL.");
        if (parse.GetValue(ModelName) is null && !ModelSource.Exists(name))
        {
            throw new UsageException(
                $"The dictionary's model is '{name}', which is no folder here.", "Give --model with the model's folder.");
        }

        return ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
    }

    /// <summary>The tokens that do not count.</summary>
    public static IReadOnlySet<int> Ignored(ParseResult parse, Model model) =>
        parse.GetValue(s_special) ? new HashSet<int>() : SpecialTokens(model);

    /// <summary>A model's special tokens.</summary>
    public static HashSet<int> SpecialTokens(Model model) =>
        Enumerable.Range(0, model.Description.Vocabulary).Where(model.Tokenizer.IsSpecial).ToHashSet();

    /// <summary>The documents of a file, or, where none is named, those of the language that the model was trained on.</summary>
    /// <param name="model">The model.</param>
    /// <param name="file">The file, or null.</param>
    /// <param name="seed">Of the language's documents.</param>
    /// <exception cref="UsageException">There is no file, and the model is not the one that comes along.</exception>
    public static IEnumerable<string> Documents(Model model, string? file, int seed) => file is not null
        ? TextFile.Documents(file, whole: false)
        : Path.GetFullPath(model.Path) == Path.GetFullPath(Model.TalesPath)
            ? TalesCorpus.Documents(seed)
            : throw new UsageException("Which texts?", "Give --text FILE: documents, one on each line, or .jsonl.");

    /// <summary>Looks at the texts, some sequences at a time, while a bar shows how far.</summary>
    public static void Each(ParseResult parse, Model model, Terminal terminal, string what, Action<TokenBatch> look)
    {
        int most = parse.GetValue(s_tokens);
        terminal.Progress(what, report =>
        {
            long done = 0;
            foreach (TokenBatch tokens in Batches(parse, model))
            {
                look(tokens);
                done += tokens.Ids.Length;
                report?.Report(most == 0 ? 0 : Math.Min(1, (double)done / most));
            }

            return done;
        });
    }

    private static IEnumerable<TokenBatch> Batches(ParseResult parse, Model model)
    {
        string? file = parse.GetValue(Text);
        int context = Math.Min(parse.GetValue(s_context), model.Description.Context), tokens = parse.GetValue(s_tokens);
        if (tokens == 0 && file is null)
        {
            throw new UsageException("--tokens 0 means the whole file, but there is none.", "Give --text FILE, or a number of tokens.");
        }

        IEnumerable<int[]> sequences = PackedSequences.Of(
            model, Documents(model, file, HeldOutSeed), context, begins: !parse.GetValue(s_noBos), rest: true);
        int most = tokens == 0 ? int.MaxValue : Math.Max(1, tokens / context);
        return sequences.Take(most).Chunk(parse.GetValue(s_batch)).Select(TokenBatch.LeftPadded);
    }
}
