using System.CommandLine;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae</c>: sparse dictionaries.</summary>
internal static class SaeCommand
{
    /// <summary>The argument of a command that needs a dictionary.</summary>
    public static Argument<string> CreateArgument() => new("dictionary")
    {
        HelpName = "DIR",
        Description = "The dictionary's folder: SAELens, sparsify, dictionary_learning (safetensors), Gemma Scope, Llama Scope, OpenAI, crosscoders.",
    };

    public static Command Create() => new("sae", "Train, look into, evaluate, apply and convert sparse dictionaries (SAEs, transcoders, crosscoders).")
    {
        SaeTrainCommand.Create(),
        SaeInfoCommand.Create(),
        SaeEvalCommand.Create(),
        SaeApplyCommand.Create(),
        SaeConvertCommand.Create(),
        SaeFeaturesCommand.Create(),
    };
}
