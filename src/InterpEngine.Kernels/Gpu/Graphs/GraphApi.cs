using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>The driver's functions for CUDA graphs, from CUDA 12 on.</summary>
internal sealed unsafe class GraphApi
{
    /// <summary>Takes the functions from wherever they are; the tests have a driver of their own.</summary>
    public GraphApi(Func<string, nint> export)
    {
        BeginCapture = (delegate* unmanaged<nint, CaptureMode, CudaError>)export("cuStreamBeginCapture_v2");
        EndCapture = (delegate* unmanaged<nint, nint*, CudaError>)export("cuStreamEndCapture");
        Instantiate = (delegate* unmanaged<nint*, nint, ulong, CudaError>)export("cuGraphInstantiateWithFlags");
        Launch = (delegate* unmanaged<nint, nint, CudaError>)export("cuGraphLaunch");
        DestroyExecutable = (delegate* unmanaged<nint, CudaError>)export("cuGraphExecDestroy");
        DestroyGraph = (delegate* unmanaged<nint, CudaError>)export("cuGraphDestroy");
    }

    public readonly delegate* unmanaged<nint, CaptureMode, CudaError> BeginCapture;
    public readonly delegate* unmanaged<nint, nint*, CudaError> EndCapture;
    public readonly delegate* unmanaged<nint*, nint, ulong, CudaError> Instantiate;
    public readonly delegate* unmanaged<nint, nint, CudaError> Launch;
    public readonly delegate* unmanaged<nint, CudaError> DestroyExecutable;
    public readonly delegate* unmanaged<nint, CudaError> DestroyGraph;
}

/// <summary>CUstreamCaptureMode.</summary>
internal enum CaptureMode
{
    /// <summary>Calls that no stream orders, such as allocations, are allowed meanwhile and happen at once.</summary>
    Relaxed = 2,
}
