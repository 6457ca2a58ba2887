using System.CommandLine;
using System.CommandLine.Help;
using InterpEngine.Cli.Sae;
using InterpEngine.Cli.Scan;

namespace InterpEngine.Cli;

/// <summary>The tool without its process: commands, and what becomes of errors.</summary>
internal static class Application
{
    /// <summary>Runs one command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="output">For results alone.</param>
    /// <param name="error">For errors, progress and the log.</param>
    /// <param name="cancellation">Ends the command cleanly.</param>
    /// <returns>The exit code: see <see cref="ExitCode"/>.</returns>
    public static async Task<int> RunAsync(
        string[] args, TextWriter output, TextWriter error, CancellationToken cancellation = default)
    {
        // A prompt may begin with '@', which would otherwise name a file of arguments.
        var parsing = new ParserConfiguration { ResponseFileTokenReplacer = null };
        ParseResult parse = CreateRoot().Parse(args.Length == 0 ? ["--help"] : args, parsing);
        var configuration = new InvocationConfiguration
        {
            Output = output,
            Error = error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,
        };
        try
        {
            if (parse.Errors.Count > 0 && parse.Action is not HelpAction and not HelpWithExamples)
            {
                Command called = parse.CommandResult.Command;
                string command = called is RootCommand ? "interp" : $"interp {called.Name}";
                string message = parse.UnmatchedTokens is [{ } unknown, ..]
                    ? $"'{unknown}' is no command, option or argument that {command} knows."
                    : parse.Errors[0].Message;
                throw new UsageException(message, $"`{command} --help` shows how it is used.");
            }

            int code = await parse.InvokeAsync(configuration, cancellation).ConfigureAwait(false);
            await output.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            return code;
        }
        catch (Exception e)
        {
            return Errors.Report(e, error, parse.GetValue(CommonOptions.Verbose), cancellation);
        }
    }

    /// <summary>All commands.</summary>
    public static RootCommand CreateRoot()
    {
        var root = new RootCommand(
            "interp: an MRI for transformers. Runs a language model, and shows and explains anything inside it.")
        {
            ScanCommand.Create(),
            RunCommand.Create(),
            CaptureCommand.Create(),
            TokenizeCommand.Create(),
            InfoCommand.Create(),
            SaeCommand.Create(),
            DoctorCommand.Create(),
        };
        root.Options.Add(CommonOptions.Verbose);
        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        }

        return root;
    }
}
