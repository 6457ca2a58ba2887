using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Functions of the CUDA driver that ILGPU does not wrap.</summary>
internal static unsafe class CudaDriver
{
    private const int MaximumDynamicSharedSize = 8; // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

    private static readonly Lazy<nint> s_library = new(Load);

    /// <summary>Lets a kernel be launched with more than 48 KB of shared memory.</summary>
    public static void AllowDynamicMemory(nint function, int bytes)
    {
        var set = (delegate* unmanaged<nint, int, int, CudaError>)Function("cuFuncSetAttribute");
        CudaError error = set(function, MaximumDynamicSharedSize, bytes);
        if (error != CudaError.CUDA_SUCCESS)
        {
            throw new DeviceException($"A kernel needs {bytes:N0} bytes of shared memory, which the GPU refuses ({error}).");
        }
    }

    /// <summary>The address of a function of the driver, such as cuFuncSetAttribute.</summary>
    public static nint Function(string name) => NativeLibrary.GetExport(s_library.Value, name);

    private static nint Load()
    {
        string[] names = OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"];
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint library))
            {
                return library;
            }
        }

        throw new DeviceException("The CUDA driver cannot be loaded.", "Install NVIDIA's driver, or compute with Device.Cpu().");
    }
}
