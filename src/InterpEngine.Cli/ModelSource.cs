using System.CommandLine;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>How the command line names a model: its folder, or <c>tales</c> for the one that comes along.</summary>
internal static class ModelSource
{
    private const string Embedded = "tales";

    /// <summary>The argument of a command that needs a model.</summary>
    public static Argument<string> CreateArgument() => new("model")
    {
        HelpName = "MODEL",
        Description = $"The model's folder in Hugging Face's layout, or '{Embedded}' for the small model that comes along.",
    };

    /// <summary>Whether a name stands for a model that is here.</summary>
    public static bool Exists(string name) => name == Embedded || Directory.Exists(name);

    /// <summary>The folder that a name stands for.</summary>
    /// <exception cref="UsageException">There is no such folder.</exception>
    public static string Resolve(string name)
    {
        if (name == Embedded)
        {
            return Model.TalesPath;
        }

        if (Directory.Exists(name))
        {
            return name;
        }

        throw File.Exists(name)
            ? new UsageException(
                $"{name} is a file; expected a model's folder.", "Give the folder that holds config.json and the weights.")
            : new UsageException(
                $"There is no folder {name}.",
                $"Download the model first (`hf download {name} --local-dir FOLDER`), or try '{Embedded}', which comes along.");
    }

    /// <summary>Loads a model.</summary>
    /// <exception cref="InterpException">It cannot be loaded.</exception>
    public static Model Open(string name, Device device, LoadOptions options, Terminal terminal, CancellationToken cancellation) =>
        terminal.Progress(
            "Loading the model", report => Model.Load(Resolve(name), device, options, terminal.Logger, report, cancellation));
}
