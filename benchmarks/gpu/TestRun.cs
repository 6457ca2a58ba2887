using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>Methods of a test program that lies beside this one, on one device.</summary>
internal sealed class TestRun(string program, string device, params string[] methods)
{
    /// <summary>The environment variable by which the tests know their only device.</summary>
    private const string DeviceVariable = "INTERP_TEST_DEVICE";

    /// <returns>What passed and failed, and whether all did.</returns>
    public (JsonObject Summary, bool Passed) Run()
    {
        string results = Path.Combine(Path.GetTempPath(), $"interp-gpu-{Guid.NewGuid():N}.json");
        try
        {
            using Process process = Start(results);
            process.WaitForExit();
            return Read(results, process.ExitCode);
        }
        finally
        {
            File.Delete(results);
        }
    }

    private Process Start(string results)
    {
        string file = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? program + ".exe" : program);
        if (!File.Exists(file))
        {
            throw new CommandException(
                $"{file} is missing: the tests lie beside this program in the package that benchmarks/gpu/publish.sh makes.",
                "Run publish.sh.");
        }

        var start = new ProcessStartInfo(file);
        foreach (string name in methods)
        {
            start.ArgumentList.Add("-method");
            start.ArgumentList.Add($"{program}.{name}");
        }

        foreach (string option in (string[])["-noLogo", "-noColor", "-reporter", "quiet", "-parallel", "none", "-ctrf", results])
        {
            start.ArgumentList.Add(option);
        }

        start.Environment[DeviceVariable] = device;
        if (string.IsNullOrEmpty(start.Environment.TryGetValue("INTERP_GOLDENS", out string? goldens) ? goldens : null))
        {
            start.Environment["INTERP_GOLDENS"] = Path.Combine(AppContext.BaseDirectory, "goldens");
        }

        return Process.Start(start) ?? throw new CommandException($"{file} cannot be started.");
    }

    private static (JsonObject Summary, bool Passed) Read(string file, int exitCode)
    {
        if (!File.Exists(file))
        {
            throw new CommandException(
                $"The tests ended with exit code {exitCode} and wrote no results.", "What they printed says why.");
        }

        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file));
        JsonElement results = document.RootElement.GetProperty("results"), summary = results.GetProperty("summary");
        var failures = new JsonArray();
        foreach (JsonElement test in results.GetProperty("tests").EnumerateArray())
        {
            if (test.GetProperty("status").GetString() == "failed")
            {
                failures.Add(new JsonObject
                {
                    ["name"] = test.GetProperty("name").GetString(),
                    ["message"] = test.TryGetProperty("message", out JsonElement message) ? message.GetString() : null,
                });
            }
        }

        int passed = summary.GetProperty("passed").GetInt32(), failed = summary.GetProperty("failed").GetInt32();
        var read = new JsonObject
        {
            ["passed"] = passed,
            ["failed"] = failed,
            ["skipped"] = summary.GetProperty("skipped").GetInt32(),
            ["failures"] = failures,
        };
        return (read, failed == 0 && passed > 0 && exitCode == 0);
    }
}
