using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu;

/// <summary>An NVIDIA GPU of this machine, whether the engine can use it or not.</summary>
/// <param name="Index">Its number, as CUDA counts.</param>
/// <param name="Name">NVIDIA's name for it.</param>
/// <param name="Architecture">Its compute capability, such as 9.0.</param>
/// <param name="MemoryBytes">Its memory.</param>
/// <param name="Driver">The newest CUDA version that its driver serves, such as 12.4.</param>
public sealed record CudaGpu(int Index, string Name, Version Architecture, long MemoryBytes, Version Driver)
{
    /// <summary>What the kernels use begins with this architecture: BF16 on tensor cores, asynchronous copies.</summary>
    public static readonly Version OldestArchitecture = new(8, 0);

    private static readonly Lazy<IReadOnlyList<CudaGpu>> s_all = new(Find);

    /// <summary>The GPUs of this machine; none where <see cref="DriverDefect"/> says why. Never throws.</summary>
    public static IReadOnlyList<CudaGpu> All => s_all.Value;

    /// <summary>Why the CUDA driver cannot be used; null where it can. Never throws.</summary>
    public static string? DriverDefect => CudaDriver.Defect;

    /// <summary>Why NVIDIA's cuBLASLt cannot be used, and products are the engine's own; null where it can. Never throws.</summary>
    public static string? CublasLtDefect => CublasLt.CublasLtApi.Defect;

    /// <summary>Why the engine cannot use this GPU; null where it can.</summary>
    public string? Defect => Architecture < OldestArchitecture
        ? $"its architecture is {Architecture}; expected at least {OldestArchitecture} (Ampere)"
        : null;

    /// <summary>The GPU with a number.</summary>
    /// <exception cref="DeviceException">There is no driver or no such GPU, or the engine cannot use it.</exception>
    internal static CudaGpu Find(int index)
    {
        const string otherwise = "or compute on the CPU (Device.Cpu(), --device cpu).";
        if (DriverDefect is { } missing)
        {
            throw new DeviceException($"cuda:{index} cannot be used: {missing}.", $"Install NVIDIA's driver (nvidia-smi shows it), {otherwise}");
        }

        CudaGpu gpu = All.FirstOrDefault(gpu => gpu.Index == index) ?? throw new DeviceException(
            $"There is no cuda:{index}; this machine has {All.Count} NVIDIA GPU{(All.Count == 1 ? "" : "s")}.",
            $"Choose one that `interp doctor` lists, {otherwise}");
        return gpu.Defect is null
            ? gpu
            : throw new DeviceException($"cuda:{index} ({gpu.Name}) cannot be used: {gpu.Defect}.", $"Use a newer GPU, {otherwise}");
    }

    private static List<CudaGpu> Find()
    {
        var gpus = new List<CudaGpu>();
        CudaAPI api = CudaAPI.CurrentAPI;
        if (DriverDefect is not null || api.GetDeviceCount(out int count) != CudaError.CUDA_SUCCESS)
        {
            return gpus;
        }

        _ = api.GetDriverVersion(out CudaDriverVersion driver);
        for (int i = 0; i < count; i++)
        {
            if (api.GetDevice(out int device, i) == CudaError.CUDA_SUCCESS
                && api.GetDeviceName(out string? name, device) == CudaError.CUDA_SUCCESS
                && api.GetDeviceComputeCapability(out int major, out int minor, device) == CudaError.CUDA_SUCCESS
                && api.GetTotalDeviceMemory(out long bytes, device) == CudaError.CUDA_SUCCESS)
            {
                gpus.Add(new CudaGpu(i, name ?? "", new Version(major, minor), bytes, new Version(driver.Major, driver.Minor)));
            }
        }

        return gpus;
    }
}
