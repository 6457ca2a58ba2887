using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>The same work in PyTorch on the same GPU, by torch_times.py beside this program.</summary>
internal static class Torch
{
    /// <returns>torch's version and its times by name, or the reason why there are none.</returns>
    public static JsonObject Run(string python, JsonObject measurements)
    {
        var start = new ProcessStartInfo(python)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "torch_times.py"));
        try
        {
            using Process process = Process.Start(start)!;
            process.StandardInput.Write(measurements.ToJsonString());
            process.StandardInput.Close();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 && JsonNode.Parse(output) is JsonObject times
                ? times
                : Absent($"{python} ended with exit code {process.ExitCode}");
        }
        catch (Exception e) when (e is Win32Exception or IOException or JsonException)
        {
            return Absent($"{python}: {e.Message}");
        }
    }

    /// <summary>Puts torch's times beside ours: above 1 we are faster.</summary>
    public static void Compare(JsonArray results, JsonObject torch)
    {
        if (torch["times"] is not JsonObject times)
        {
            return;
        }

        foreach (JsonNode? result in results)
        {
            if (times[result!["name"]!.GetValue<string>()] is JsonObject time)
            {
                foreach ((string key, JsonNode? theirs) in time)
                {
                    result[$"torch_{key}"] = theirs!.GetValue<double>();
                    string ratio = key.Replace("seconds", "ratio", StringComparison.Ordinal);
                    JsonNode? ours = result[key == "recorded_seconds" ? key : "seconds"];
                    if (ours is not null)
                    {
                        result[$"torch_{ratio}"] = Math.Round(theirs.GetValue<double>() / ours.GetValue<double>(), 3);
                    }
                }
            }
        }
    }

    private static JsonObject Absent(string reason) => new() { ["absent"] = reason };
}
