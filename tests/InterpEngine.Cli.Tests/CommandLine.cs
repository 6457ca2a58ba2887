using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace InterpEngine.Cli.Tests;

/// <summary>Runs the tool: in this process, or as the real executable where a signal is needed.</summary>
internal static class CommandLine
{
    /// <summary>The executable that was built with these tests.</summary>
    public static string Executable { get; } =
        Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "interp.exe" : "interp");

    /// <summary>Runs a command in this process.</summary>
    public static async Task<(int Code, string Out, string Error)> Run(params string[] args)
    {
        using StringWriter output = new(), error = new();
        int code = await Application.RunAsync(args, output, error, TestContext.Current.CancellationToken);
        return (code, output.ToString(), error.ToString());
    }

    /// <summary>Runs a command that must succeed.</summary>
    /// <returns>What it wrote to stdout.</returns>
    public static async Task<string> Success(params string[] args)
    {
        (int code, string output, string error) = await Run(args);
        Assert.True(code == 0, error);
        return output;
    }

    /// <summary>Runs a command whose result is JSON.</summary>
    public static async Task<JsonElement> Json(params string[] args)
    {
        using var document = JsonDocument.Parse(await Success(args));
        return document.RootElement.Clone();
    }

    /// <summary>Runs a command that must refuse its input: one line, a hint, no stack.</summary>
    /// <returns>What it wrote to stderr.</returns>
    public static async Task<string> Failure(params string[] args)
    {
        (int code, string output, string error) = await Run(args);
        Assert.Equal((2, ""), (code, output));
        string[] lines = error.TrimEnd('\n').Split('\n');
        Assert.StartsWith("interp: ", lines[0], StringComparison.Ordinal);
        Assert.True(lines.Length == 1 || (lines.Length == 2 && lines[1].StartsWith("hint: ", StringComparison.Ordinal)), error);
        return error;
    }

    /// <summary>Starts the real executable.</summary>
    public static Process Start(params string[] args) => StartProgram(Executable, args);

    /// <summary>Starts any program.</summary>
    public static Process StartProgram(string program, params string[] args) => Process.Start(new ProcessStartInfo(program, args)
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    /// <summary>Waits until a process has written a file, which must be before its end.</summary>
    public static async Task UntilExists(Process process, string path)
    {
        while (!File.Exists(path))
        {
            Assert.True(!process.HasExited || File.Exists(path), $"The process ended before it wrote {path}.");
            await Task.Delay(2, TestContext.Current.CancellationToken);
        }
    }
}
