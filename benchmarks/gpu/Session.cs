using System.Text.Json;
using System.Text.Json.Nodes;
using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>All parts in turn, and the report.</summary>
internal static class Session
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <returns>The exit code: 0, or 1 where a test failed.</returns>
    public static int Run(Arguments arguments)
    {
        var report = new JsonObject
        {
            ["engine"] = typeof(Model).Assembly.GetName().Version!.ToString(3),
            ["utc"] = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", System.Globalization.CultureInfo.InvariantCulture),
            ["device"] = Describe(arguments),
        };
        bool passed = true;
        foreach (string part in arguments.Parts)
        {
            Console.WriteLine($"{part} on {arguments.DeviceName} …");
            switch (part)
            {
                case "conformance":
                    passed &= Tests(report, arguments, part, "InterpEngine.Kernels.Tests",
                    [
                        "Conformance.ConformanceTests.Holds", "Conformance.CompanyTests.*", "Conformance.StageTests.*",
                        "Conformance.WeightTests.*", "Conformance.RecordingTests.*", "Conformance.NarrowTests.*",
                        "Gpu.TensorProductTests.*", "Gpu.TensorAttentionTests.*",
                    ]);
                    break;
                case "goldens":
                    passed &= Tests(
                        report, arguments, part, "InterpEngine.Tests",
                        [
                            "Models.GoldenModelTests.*", "Models.PromiseTests.*", "Models.GenerationTests.*",
                            "Dictionaries.GoldenDictionaryTests.*", "Dictionaries.GoldenEvaluationTests.*", "Dictionaries.GoldenTrainingTests.*",
                        ]);
                    break;
                default:
                    report[part] = Benchmarks.Run(arguments);
                    break;
            }

            // After each part, so that what was measured is not lost with a later one.
            File.WriteAllText(arguments.Report, report.ToJsonString(s_indented));
        }

        Console.WriteLine($"report: {Path.GetFullPath(arguments.Report)}");
        return passed ? 0 : 1;
    }

    /// <summary>Opens the device first, so that a machine without one is told at once.</summary>
    private static string Describe(Arguments arguments)
    {
        if (arguments.DeviceIndex is not { } index)
        {
            return "ILGPU's simulator";
        }

        using Device device = Device.Cuda(index);
        return device.Name;
    }

    /// <summary>On a GPU, with cuBLASLt's products and again with the engine's own.</summary>
    private static bool Tests(JsonObject report, Arguments arguments, string part, string program, string[] methods)
    {
        string name = arguments.DeviceName;
        string[] devices = arguments.DeviceIndex is null ? [name] : [name, $"{name} own"];
        bool passed = true;
        var summaries = new JsonObject();
        foreach (string device in devices)
        {
            (JsonObject summary, bool all) = new TestRun(program, device, methods).Run();
            summaries[device] = summary;
            passed &= all;
            Console.WriteLine($"  {device}: {summary["passed"]} passed, {summary["failed"]} failed");
        }

        report[part] = summaries;
        return passed;
    }
}
