using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu.Copies;

/// <summary>The driver's functions for copies beside the kernels.</summary>
internal sealed unsafe class CopyApi
{
    /// <summary>Takes the functions from wherever they are; the tests have a driver of their own.</summary>
    public CopyApi(Func<string, nint> export)
    {
        CreateStream = (delegate* unmanaged<nint*, uint, CudaError>)export("cuStreamCreate");
        DestroyStream = (delegate* unmanaged<nint, CudaError>)export("cuStreamDestroy_v2");
        WaitFor = (delegate* unmanaged<nint, nint, uint, CudaError>)export("cuStreamWaitEvent");
        CreateEvent = (delegate* unmanaged<nint*, uint, CudaError>)export("cuEventCreate");
        DestroyEvent = (delegate* unmanaged<nint, CudaError>)export("cuEventDestroy_v2");
        Record = (delegate* unmanaged<nint, nint, CudaError>)export("cuEventRecord");
        Synchronize = (delegate* unmanaged<nint, CudaError>)export("cuEventSynchronize");
        CopyToHost = (delegate* unmanaged<void*, nint, nuint, nint, CudaError>)export("cuMemcpyDtoHAsync_v2");
        AllocateLocked = (delegate* unmanaged<nint*, nuint, CudaError>)export("cuMemAllocHost_v2");
        FreeLocked = (delegate* unmanaged<nint, CudaError>)export("cuMemFreeHost");
    }

    public const uint NonBlocking = 1; // CU_STREAM_NON_BLOCKING
    public const uint NoTiming = 2; // CU_EVENT_DISABLE_TIMING

    public readonly delegate* unmanaged<nint*, uint, CudaError> CreateStream;
    public readonly delegate* unmanaged<nint, CudaError> DestroyStream;

    /// <summary>(stream, event, 0).</summary>
    public readonly delegate* unmanaged<nint, nint, uint, CudaError> WaitFor;
    public readonly delegate* unmanaged<nint*, uint, CudaError> CreateEvent;
    public readonly delegate* unmanaged<nint, CudaError> DestroyEvent;

    /// <summary>(event, stream).</summary>
    public readonly delegate* unmanaged<nint, nint, CudaError> Record;
    public readonly delegate* unmanaged<nint, CudaError> Synchronize;
    public readonly delegate* unmanaged<void*, nint, nuint, nint, CudaError> CopyToHost;
    public readonly delegate* unmanaged<nint*, nuint, CudaError> AllocateLocked;
    public readonly delegate* unmanaged<nint, CudaError> FreeLocked;
}
