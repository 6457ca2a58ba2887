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

    /// <summary>What the environment variable INTERP_TEST_DEVICE names, or null: "gpu simulated", "cuda 0", or "cuda 0 own" with
    /// the engine's own products.</summary>
    public static readonly string? Named =
        Environment.GetEnvironmentVariable("INTERP_TEST_DEVICE") is { Length: > 0 } named ? named : null;

    /// <summary>All devices, or the named one alone.</summary>
    public static readonly IReadOnlyDictionary<string, Lazy<Device>> All = Named is not null
        ? new Dictionary<string, Lazy<Device>> { [Named] = new(() => OpenGpu(Named)) }
        : new Dictionary<string, Lazy<Device>>([.. Cpus, .. Gpus])
        {
            ["reference"] = new(Reference),
            [Simulated] = new(() => OpenGpu(Simulated)),
        };

    /// <summary>Whether a name is a GPU's, real or simulated.</summary>
    public static bool IsGpu(string name) => name == Simulated || name.StartsWith("cuda ", StringComparison.Ordinal);

    /// <summary>For theories that run once on every device.</summary>
    public static IEnumerable<TheoryDataRow<string>> Names() => All.Keys.Order().Select(name => new TheoryDataRow<string>(name));

    /// <summary>A device of its own, for tests that leave traces on one.</summary>
    public static Device OpenAnew(string name) =>
        name == "reference" ? Device.Reference()
        : Cpus.TryGetValue(name, out Lazy<Device>? cpu) ? new CpuDevice(3, ((CpuDevice)cpu.Value).InstructionSet)
        : OpenGpu(name);

    /// <summary>A GPU by its name in <see cref="Named"/>.</summary>
    /// <param name="name">The name.</param>
    /// <param name="options">How it computes; null for what the name says.</param>
    /// <param name="warps">Warps of the simulator.</param>
    /// <param name="lanes">Threads of its warps.</param>
    public static Device OpenGpu(string name, CudaOptions? options = null, int warps = 2, int lanes = 2)
    {
        if (name == Simulated)
        {
            return new GpuDevice(SimulatedPlatform.Create(warps, lanes), options);
        }

        string[] words = name.Split(' ');
        options ??= new CudaOptions { Products = words.Contains("own") ? ProductLibrary.Own : ProductLibrary.CublasLt };
        return Device.Cuda(int.Parse(words[1], System.Globalization.CultureInfo.InvariantCulture), options);
    }
}
