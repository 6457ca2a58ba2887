using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Tests;

/// <summary>Every backend that this machine has; the same tests run on each.</summary>
internal static class TestDevices
{
    /// <summary>Names, as theory data; or what the environment variable INTERP_TEST_DEVICE names alone, as the kernels' tests
    /// read it.</summary>
    public static IEnumerable<string> Names =>
        Environment.GetEnvironmentVariable("INTERP_TEST_DEVICE") is { Length: > 0 } named
            ? [named.Replace(' ', '-')]
            :
            [
                "reference", .. CpuDevice.InstructionSets.Select(set => $"cpu-{set}"),
                .. CudaGpu.All.Where(gpu => gpu.Defect is null).Select(gpu => $"cuda-{gpu.Index}"),
            ];

    /// <summary>The GPU's kernels on ILGPU's simulator: too slow for all tests.</summary>
    public const string Simulated = "gpu-simulated";

    /// <summary>Opens one by name.</summary>
    public static Device Open(string name, int threads = 2) => name switch
    {
        "reference" => Device.Reference(),
        ['c', 'u', 'd', 'a', '-', .. var index] => OpenCuda(index.Split('-')),
        Simulated => new GpuDevice(SimulatedPlatform.Create()),
        _ => Device.Cpu(threads, Enum.Parse<InstructionSet>(name["cpu-".Length..])),
    };

    /// <summary>cuda-0, or cuda-0-own with the engine's own products.</summary>
    private static Device OpenCuda(string[] words) => Device.Cuda(
        int.Parse(words[0], CultureInfo.InvariantCulture),
        new CudaOptions { Products = words.Contains("own") ? ProductLibrary.Own : ProductLibrary.CublasLt });
}
