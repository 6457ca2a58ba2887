using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>The devices present on this machine, each made once. A new kind of device is one more line.</summary>
internal static class Devices
{
    public static readonly Device Reference = Device.Reference();

    /// <summary>By instruction set and threads: an odd number of threads splits work unevenly.</summary>
    public static readonly IReadOnlyDictionary<string, Lazy<Device>> Cpus =
        (from instructionSet in CpuDevice.InstructionSets
         from threads in (int[])(instructionSet > InstructionSet.Avx512 ? [3] : [1, 3]) // the last two differ in a few products only
         let name = $"cpu {instructionSet.ToString().ToLowerInvariant()} {threads} thread{(threads == 1 ? "" : "s")}"
         select KeyValuePair.Create(name, new Lazy<Device>(() => new CpuDevice(threads, instructionSet)))).ToDictionary();

    /// <summary>The GPU kernels' C# on ILGPU's simulator.</summary>
    public const string Simulated = "gpu simulated";

    /// <summary>Real GPUs, by number.</summary>
    public static readonly IReadOnlyDictionary<string, Lazy<Device>> Gpus = CudaGpu.All.Where(gpu => gpu.Defect is null)
        .ToDictionary(gpu => $"cuda {gpu.Index}", gpu => new Lazy<Device>(() => Device.Cuda(gpu.Index)));

    public static readonly IReadOnlyDictionary<string, Lazy<Device>> All = new Dictionary<string, Lazy<Device>>([.. Cpus, .. Gpus])
    {
        ["reference"] = new(Reference),
        [Simulated] = new(() => new GpuDevice(SimulatedPlatform.Create())),
    };

    /// <summary>For theories that run once on every device.</summary>
    public static IEnumerable<TheoryDataRow<string>> Names() => All.Keys.Order().Select(name => new TheoryDataRow<string>(name));
}
