using System.CommandLine;
using InterpEngine.Cli.Sae.Features;
using InterpEngine.Cli.Sae.Train;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae</c>: sparse dictionaries.</summary>
internal static class SaeCommand
{
    public static Command Create() => new(
        "sae", "Train, look into, evaluate, apply and convert sparse dictionaries (SAEs, transcoders, crosscoders).")
    {
        SaeTrainCommand.Create(),
        SaeInfoCommand.Create(),
        SaeEvalCommand.Create(),
        SaeApplyCommand.Create(),
        SaeConvertCommand.Create(),
        SaeFeaturesCommand.Create(),
    };
}
