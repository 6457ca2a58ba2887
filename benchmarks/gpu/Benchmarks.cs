using System.Text.Json.Nodes;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>Times of ops and models with both kinds of products, beside torch's.</summary>
internal static class Benchmarks
{
    public static JsonObject Run(Arguments arguments)
    {
        var results = new JsonArray();
        var torch = new JsonObject();
        using var models = new Owner();
        ModelMeasurements[] all = [.. ModelMeasurements.All().Select(models.Own)];
        string? defect = null;
        foreach (ProductLibrary products in Enum.GetValues<ProductLibrary>())
        {
            using var device = (GpuDevice)Device.Cuda(
                arguments.DeviceIndex!.Value, new CudaOptions { Products = products, Bf16Attention = true });
            if (products == ProductLibrary.CublasLt && device.CublasLtDefect is not null)
            {
                defect = device.CublasLtDefect;
                continue;
            }

            double copy = 0;
            IEnumerable<Measurement> wanted =
            [
                .. OpMeasurements.Bandwidth(device), .. OpMeasurements.Products(device), .. OpMeasurements.Attention(device),
                .. all.SelectMany(model => model.On(device)),
            ];
            foreach (Measurement measurement in wanted.Where(m => m.Name.Contains(arguments.Only, StringComparison.Ordinal)))
            {
                Measure(measurement);
            }

            void Measure(Measurement measurement)
            {
                double seconds = measurement.Time(device);
                copy = measurement.Name == OpMeasurements.CopyName ? measurement.Bytes / seconds : copy;
                results.Add(Result(measurement, products, seconds, copy));
                Console.WriteLine($"  {measurement.Name} ({products}): {seconds * 1e6:0.0} µs");
                if (measurement.Torch is { } same)
                {
                    torch[measurement.Name] ??= same;
                }
            }
        }

        JsonObject compared = Torch.Run(arguments.Python, torch);
        Torch.Compare(results, compared);
        return new JsonObject { ["cublaslt_defect"] = defect, ["torch"] = compared, ["results"] = results };
    }

    private static JsonObject Result(Measurement measurement, ProductLibrary products, double seconds, double copy)
    {
        var result = new JsonObject
        {
            ["name"] = measurement.Name,
            ["products"] = products.ToString(),
            ["seconds"] = seconds,
        };
        if (measurement.Flops > 0)
        {
            result["teraflops"] = Math.Round(measurement.Flops / seconds / 1e12, 2);
        }

        if (measurement.Bytes > 0)
        {
            result["gigabytes_per_second"] = Math.Round(measurement.Bytes / seconds / 1e9, 1);
            result["of_copy"] = Math.Round(measurement.Bytes / seconds / copy, 3);
        }

        return result;
    }
}
