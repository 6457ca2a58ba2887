using System.Text.Json.Nodes;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>Times of ops and models in several setups of the device, beside torch's.</summary>
internal static class Benchmarks
{
    private static readonly Setup[] s_setups =
    [
        new("bf16, cuBLASLt", new CudaOptions { Bf16Attention = true }, ElementType.BF16),
        new("bf16, own products", new CudaOptions { Products = ProductLibrary.Own, Bf16Attention = true }, ElementType.BF16),
        new("fp32", new CudaOptions(), ElementType.F32),
    ];

    public static JsonObject Run(Arguments arguments)
    {
        var results = new JsonArray();
        var torch = new JsonObject();
        var defects = new JsonObject();
        using var models = new Owner();
        ModelMeasurements[] all = [.. ModelMeasurements.All().Select(models.Own)];
        foreach (Setup setup in s_setups.Where(s => s.Name.Contains(arguments.Setup, StringComparison.Ordinal)))
        {
            using var device = (GpuDevice)Device.Cuda(arguments.DeviceIndex!.Value, setup.Options);
            if (setup.Options.Products == ProductLibrary.CublasLt && device.CublasLtDefect is not null)
            {
                defects[setup.Name] = device.CublasLtDefect;
                continue;
            }

            double copy = 0;
            IEnumerable<Measurement> wanted =
            [
                .. OpMeasurements.Bandwidth(device), .. OpMeasurements.Products(device, setup.Weights),
                .. OpMeasurements.Attention(device, setup.Weights), .. DictionaryMeasurements.All(device, setup.Weights), .. all.SelectMany(model => model.On(device, setup.Weights)),
            ];
            foreach (Measurement measurement in wanted.Where(m => arguments.Wants(m.Name)))
            {
                Timing timing = measurement.Time(device);
                copy = measurement.Name == OpMeasurements.CopyName ? measurement.Bytes / timing.Shortest : copy;
                results.Add(Result(measurement, setup, timing, copy));
                Console.WriteLine($"  {measurement.Name} ({setup.Name}): {timing}");
                if (measurement.Torch is { } same)
                {
                    torch[measurement.Name] ??= same;
                }
            }
        }

        JsonObject compared = Torch.Run(arguments.Python, torch);
        Torch.Compare(results, compared);
        return new JsonObject { ["cublaslt_defects"] = defects, ["torch"] = compared, ["results"] = results };
    }

    private static JsonObject Result(Measurement measurement, Setup setup, Timing timing, double copy)
    {
        var result = new JsonObject { ["name"] = measurement.Name, ["setup"] = setup.Name, ["seconds"] = timing.Seconds };
        if (timing.RecordedSeconds is { } recorded)
        {
            result["recorded_seconds"] = recorded;
        }

        if (measurement.Flops > 0)
        {
            result["teraflops"] = Math.Round(measurement.Flops / timing.Shortest / 1e12, 2);
        }

        if (measurement.Bytes > 0)
        {
            result["gigabytes_per_second"] = Math.Round(measurement.Bytes / timing.Shortest / 1e9, 1);
            result["of_copy"] = Math.Round(measurement.Bytes / timing.Shortest / copy, 3);
        }

        return result;
    }

    /// <summary>How the device computes.</summary>
    private sealed record Setup(string Name, CudaOptions Options, ElementType Weights);
}
