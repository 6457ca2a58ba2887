using System.Diagnostics;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

/// <summary>A capture that is ended from outside, as the real process.</summary>
public sealed class InterruptionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public InterruptionTests() => File.WriteAllLines(
        _folder["texts.txt"],
        Enumerable.Range(0, 300).Select(i => $"{i} The keys near the {(i % 2 == 0 ? "old door" : "small box")} are red."));

    [Fact]
    public async Task Killed_again_and_again_it_ends_in_the_same_bytes()
    {
        foreach (int shard in new[] { 2, 7, 15 })
        {
            await Kill(shard);
        }

        (int code, _, string error) = await CommandLine.Run(Capture("killed"));
        Assert.True(code == 0, error);
        Assert.Contains("resuming after shard", error, StringComparison.Ordinal);
        await CommandLine.Success(Capture("whole"));
        CaptureFolderTests.AssertSameFolders(_folder["whole"], _folder["killed"]);
    }

    [Fact]
    public async Task Interrupted_it_leaves_whole_shards_and_can_go_on()
    {
        Assert.SkipUnless(File.Exists("/bin/sh"), "needs POSIX signals");
        using Process process = CommandLine.Start(Capture("stopped"));
        await CommandLine.UntilExists(process, Path.Combine(_folder["stopped"], "shard-00003.safetensors"));

        // Not SIGINT, which a shell has its background jobs ignore, and with them all that these start.
        using (Process kill = CommandLine.StartProgram("/bin/sh", "-c", $"kill -TERM {process.Id}"))
        {
            await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(130, process.ExitCode);
        Assert.Contains("the same command goes on from there", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.All(
            Directory.EnumerateFiles(_folder["stopped"]),
            path => Assert.Matches(@"^(index\.json|shard-\d{5}\.safetensors)$", Path.GetFileName(path)));
        await CommandLine.Success(Capture("stopped"));
        await CommandLine.Success(Capture("whole"));
        CaptureFolderTests.AssertSameFolders(_folder["whole"], _folder["stopped"]);
    }

    [Fact]
    public async Task On_a_terminal_it_shows_its_progress()
    {
        const string script = "/usr/bin/script";
        Assert.SkipUnless(File.Exists(script), "needs script(1) to be given a terminal");
        string command = string.Join(' ', Capture("watched").Prepend(CommandLine.Executable).Select(argument => $"'{argument}'"));
        using Process process = CommandLine.StartProgram(script, "-qec", command, "/dev/null");
        string seen = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, seen);
        Assert.Contains("tokens/s", seen, StringComparison.Ordinal);
        Assert.Contains("complete", seen, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Generation_can_be_interrupted()
    {
        using var stop = new CancellationTokenSource();
        await stop.CancelAsync();
        using StringWriter output = new(), error = new();
        Assert.Equal(130, await Application.RunAsync(["run", "tales", "Mary"], output, error, stop.Token));
        Assert.Equal("", error.ToString());
    }

    public void Dispose() => _folder.Dispose();

    private string[] Capture(string folder) =>
    [
        "capture", "tales", "--text", _folder["texts.txt"], "--points", "blocks.*.hook_resid_*", "*hook_pattern", "*hook_post",
        "--out", _folder[folder], "--shard-size", "1MB", "--batch", "2",
    ];

    private async Task Kill(int shard)
    {
        using Process process = CommandLine.Start(Capture("killed"));
        await CommandLine.UntilExists(process, Path.Combine(_folder["killed"], $"shard-{shard:D5}.safetensors"));
        process.Kill();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
    }
}
