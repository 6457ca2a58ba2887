namespace InterpEngine.Cli;

/// <summary>What the process ends with.</summary>
internal static class ExitCode
{
    public const int Success = 0;
    public const int Unexpected = 1;
    public const int BadInput = 2;
    public const int Interrupted = 130;
}

/// <summary>The command line, or a file named in it, does not say what the command needs.</summary>
internal sealed class UsageException(string message, string? hint = null, Exception? inner = null)
    : InterpException(message, hint, inner);

/// <summary>Turns whatever ended a command into lines on stderr and an exit code.</summary>
internal static class Errors
{
    // EPIPE on Unix, ERROR_BROKEN_PIPE and ERROR_NO_DATA on Windows.
    private static readonly int[] s_brokenPipe = [32, unchecked((int)0x8007006D), unchecked((int)0x800700E8)];

    /// <summary>Says what went wrong.</summary>
    /// <param name="exception">What was thrown.</param>
    /// <param name="error">Where to say it.</param>
    /// <param name="verbose">Whether to show the stack of what was not foreseen.</param>
    /// <param name="cancellation">Whether the user had asked for the end.</param>
    /// <returns>The exit code.</returns>
    public static int Report(Exception exception, TextWriter error, bool verbose, CancellationToken cancellation)
    {
        switch (exception)
        {
            case OperationCanceledException when cancellation.IsCancellationRequested:
                return ExitCode.Interrupted;
            case IOException when s_brokenPipe.Contains(exception.HResult):
                // Whoever read our output has seen enough.
                return ExitCode.Success;
            case InterpException:
                Line(error, exception.Message, ((InterpException)exception).Hint);
                return ExitCode.BadInput;
            case IOException or UnauthorizedAccessException:
                Line(error, exception.Message, "Check that the path exists, may be accessed, and that the disk has space left.");
                return ExitCode.BadInput;
            default:
                Line(
                    error,
                    $"unexpected failure: {exception.GetType().Name}: {exception.Message}",
                    verbose ? null : "Please report this with what --verbose shows.");
                if (verbose)
                {
                    error.WriteLine(exception.ToString());
                }

                return ExitCode.Unexpected;
        }
    }

    private static void Line(TextWriter error, string message, string? hint)
    {
        error.WriteLine($"interp: {message.ReplaceLineEndings(" ")}");
        if (hint is not null)
        {
            error.WriteLine($"hint: {hint}");
        }

        error.Flush();
    }
}
