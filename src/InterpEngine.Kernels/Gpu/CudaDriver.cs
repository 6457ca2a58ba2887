using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Functions of the CUDA driver that ILGPU does not wrap.</summary>
internal static unsafe class CudaDriver
{
    private const int MaximumDynamicSharedSize = 8; // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

    private static readonly string[] s_names =
        OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"];

    private static readonly Lazy<nint> s_library = new(Load);
    private static readonly Lazy<string?> s_defect = new(Start);

    /// <summary>Why no GPU can be used; null where the driver has started. Never throws.</summary>
    public static string? Defect => s_defect.Value;

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
        foreach (string name in s_names)
        {
            if (NativeLibrary.TryLoad(name, out nint library))
            {
                return library;
            }
        }

        return 0;
    }

    private static string? Start()
    {
        if (s_library.Value == 0 || !NativeLibrary.TryGetExport(s_library.Value, "cuInit", out nint start))
        {
            return $"the CUDA driver ({s_names[0]}) cannot be loaded";
        }

        CudaError error = ((delegate* unmanaged<uint, CudaError>)start)(0);
        return error switch
        {
            CudaError.CUDA_SUCCESS => null,
            CudaError.CUDA_ERROR_NO_DEVICE => "the CUDA driver finds no GPU",
            _ => $"the CUDA driver does not start ({error})",
        };
    }
}
