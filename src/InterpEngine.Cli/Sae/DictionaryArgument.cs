using System.CommandLine;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae;

/// <summary>The dictionary that a command line names: a folder, and the layer where the folder holds a transcoder for each.</summary>
internal static class DictionaryArgument
{
    /// <summary>The folder.</summary>
    public static Argument<string> Folder { get; } = new("dictionary")
    {
        HelpName = "DIR",
        Description = "The dictionary's folder: SAELens, sparsify, dictionary_learning (safetensors), Gemma Scope, Llama Scope, OpenAI, "
            + "crosscoders, circuit-tracer.",
    };

    private static readonly Option<int?> s_layer = new("--layer")
    {
        Description = "Which layer's transcoder, of a folder of circuit-tracer.",
        HelpName = "N",
    };

    /// <summary>Adds the argument and the option to a command.</summary>
    public static void AddTo(Command command)
    {
        command.Arguments.Add(Folder);
        command.Options.Add(s_layer);
    }

    /// <summary>The folder's own name, with the layer.</summary>
    public static string NameOf(ParseResult parse) =>
        Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(parse.GetRequiredValue(Folder))))
        + (parse.GetValue(s_layer) is { } layer ? $" layer {layer}" : "");

    /// <summary>The transcoders of all layers, where the folder holds such and no layer is named; null otherwise.</summary>
    public static TranscoderSet? Set(ParseResult parse, Device device) =>
        IsSet(parse) && parse.GetValue(s_layer) is null ? TranscoderSet.Open(parse.GetRequiredValue(Folder), device) : null;

    /// <summary>Reads what it is and its weights.</summary>
    /// <exception cref="InterpException">There is no such dictionary, or it is broken.</exception>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(ParseResult parse)
    {
        if (!IsSet(parse))
        {
            return DictionaryFile.Read(parse.GetRequiredValue(Folder));
        }

        using Device device = Device.Reference();
        using SparseDictionary dictionary = Load(parse, device);
        return (dictionary.Config, dictionary.Parameters);
    }

    /// <summary>Loads it.</summary>
    /// <exception cref="InterpException">There is no such dictionary, or it is broken.</exception>
    public static SparseDictionary Load(ParseResult parse, Device device)
    {
        string folder = parse.GetRequiredValue(Folder);
        if (!IsSet(parse))
        {
            return SparseDictionary.Load(folder, device);
        }

        using var set = TranscoderSet.Open(folder, device);
        return parse.GetValue(s_layer) is not { } layer
            ? throw new UsageException($"{folder} holds transcoders for {set.Layers} layers.", $"Give --layer N, 0 to {set.Layers - 1}.")
            : layer >= 0 && layer < set.Layers ? set.Load(layer)
            : throw new UsageException($"There is no layer {layer}: {folder} holds transcoders for layers 0 to {set.Layers - 1}.");
    }

    private static bool IsSet(ParseResult parse)
    {
        bool set = File.Exists(Path.Combine(parse.GetRequiredValue(Folder), "config.yaml"));
        return set || parse.GetValue(s_layer) is null ? set
            : throw new UsageException(
                $"--layer belongs to a folder of circuit-tracer; {parse.GetRequiredValue(Folder)} holds one dictionary.");
    }
}
