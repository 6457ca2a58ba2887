using System.CommandLine;
using InterpEngine.Captures;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae;

/// <summary>The model and the texts that a dictionary is looked at with: options that several commands share.</summary>
internal sealed class SaeTexts
{
    /// <summary>The model that a dictionary belongs to.</summary>
    public static Option<string> ModelName { get; } = new("--model")
    {
        Description = "The model that the dictionary belongs to: its folder, or 'tales' for the one that comes along.",
        HelpName = "MODEL",
        Required = true,
    };

    private readonly Option<int> _context = new Option<int>("--context")
    {
        Description = "Tokens of a sequence at most; longer documents are split.",
        HelpName = "N",
        DefaultValueFactory = _ => 256,
    }.AtLeast(2);

    private readonly Option<int> _batch = new Option<int>("--batch")
    {
        Description = "Sequences to run at once.",
        HelpName = "N",
        DefaultValueFactory = _ => 8,
    }.AtLeast(1);

    private readonly Option<int> _limit = new Option<int>("--limit")
    {
        Description = "Sequences at most; 0 for all.",
        HelpName = "N",
    }.AtLeast(0);

    private readonly Option<bool> _special = new("--with-special")
    {
        Description = "Count special tokens too, and replace activations there.",
    };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[ModelName, PackedTexts.Text, PackedTexts.Point, _context, _batch, _limit, _special])
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Loads the model.</summary>
    public static Model Open(ParseResult parse, Device device, Terminal terminal, CancellationToken cancellation)
    {
        string name = parse.GetRequiredValue(ModelName);
        return ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
    }

    /// <summary>The tokens that do not count.</summary>
    public IReadOnlySet<int> Ignored(ParseResult parse, Model model) => parse.GetValue(_special)
        ? new HashSet<int>()
        : Enumerable.Range(0, model.Description.Vocabulary).Where(model.Tokenizer.IsSpecial).ToHashSet();

    /// <summary>The texts, some sequences at a time.</summary>
    public IEnumerable<TokenBatch> Batches(ParseResult parse, Model model)
    {
        int context = Math.Min(parse.GetValue(_context), model.Description.Context), limit = parse.GetValue(_limit);
        IEnumerable<CaptureSequence> sequences =
            new Corpus(model, null, parse.GetRequiredValue(PackedTexts.Text), whole: false, begin: true, context).Sequences();
        return (limit == 0 ? sequences : sequences.Take(limit)).Chunk(parse.GetValue(_batch))
            .Select(some => TokenBatch.LeftPadded([.. some.Select(sequence => sequence.Ids)]));
    }
}
