using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Tests;

/// <summary>Every backend that this machine has; the same tests run on each.</summary>
internal static class TestDevices
{
    /// <summary>Names, as theory data.</summary>
    public static IEnumerable<string> Names =>
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
        ['c', 'u', 'd', 'a', '-', .. var index] => Device.Cuda(int.Parse(index, CultureInfo.InvariantCulture)),
        Simulated => new GpuDevice(SimulatedPlatform.Create()),
        _ => Device.Cpu(threads, Enum.Parse<InstructionSet>(name["cpu-".Length..])),
    };
}
