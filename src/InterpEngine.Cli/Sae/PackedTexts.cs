using System.CommandLine;
using InterpEngine.Dictionaries;

namespace InterpEngine.Cli.Sae;

/// <summary>Texts as dictionaries are trained on them: documents joined and cut into sequences of one length; and the options for that.</summary>
internal static class PackedTexts
{
    /// <summary>A file of texts.</summary>
    public static Option<string> Text { get; } = new("--text")
    {
        Description = "Documents: one on each line of a text file; of a .jsonl file the \"text\" of each line's object.",
        HelpName = "FILE",
        Required = true,
    };

    /// <summary>Where a dictionary belongs.</summary>
    public static Option<string?> Point { get; } = new("--point")
    {
        Description = "The hook point (default: the one that the dictionary's files name).",
        HelpName = "NAME",
    };

    /// <summary>Tokens of a sequence.</summary>
    public static Option<int> Context { get; } = new Option<int>("--context")
    {
        Description = "Tokens of a sequence: documents are joined and cut.",
        HelpName = "N",
        DefaultValueFactory = _ => 128,
    }.AtLeast(2);

    /// <summary>The hook point that a command line or else a dictionary names.</summary>
    public static string PointOf(ParseResult parse, DictionaryConfig config) => parse.GetValue(Point) ?? config.HookName
        ?? throw new UsageException("The dictionary does not say where it belongs.", "Give --point NAME, such as blocks.2.hook_resid_post.");

    /// <summary>Sequences of one length from documents, each begun as the model expects.</summary>
    public static IEnumerable<int[]> Read(Model model, string file, int context)
    {
        var pending = new List<int>();
        foreach (string document in TextFile.Documents(file, whole: false).Where(document => document.Length > 0))
        {
            pending.AddRange(model.Tokenize(document).Ids);
            int used = 0;
            for (; pending.Count - used >= context; used += context)
            {
                yield return [.. pending.GetRange(used, context)];
            }

            pending.RemoveRange(0, used);
        }
    }
}
