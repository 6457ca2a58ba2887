using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Copies;
using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Gpu;

/// <summary>An NVIDIA GPU.</summary>
internal sealed unsafe class CudaPlatform : GpuPlatform
{
    private static readonly CudaAPI s_api = CudaAPI.CurrentAPI;

    /// <summary>What this thread records, if it does.</summary>
    [ThreadStatic]
    private static Session? s_recorded;

    private readonly Lock _opening = new();
    private GraphApi? _graphs;
    private CopyStream? _copies;

    private CudaPlatform(Context context, CudaDevice device)
        : base(context, device.CreateCudaAccelerator(context), KernelCache.OfUser())
    {
        const DeviceAttributeKind largestGroupMemory = (DeviceAttributeKind)97; // …MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        Name = $"cuda:{device.DeviceId} ({device.Name})";
        GroupBytes = s_api.GetDeviceAttribute(largestGroupMemory, device.DeviceId);
    }

    public override string Name { get; }

    public override int GroupBytes { get; }

    /// <summary>Opens a GPU.</summary>
    /// <exception cref="DeviceException">The driver cannot open it.</exception>
    public static CudaPlatform Create(CudaGpu gpu)
    {
        Context? context = null;
        try
        {
            context = Context.Create(builder => KernelFactory.Configure(builder).Cuda(device => device.DeviceId == gpu.Index));
            return new CudaPlatform(context, context.GetCudaDevice(0));
        }
        catch (Exception e) when (e is CudaException or NotSupportedException or ArgumentOutOfRangeException)
        {
            context?.Dispose();
            throw new DeviceException(
                $"cuda:{gpu.Index} ({gpu.Name}) cannot be opened: {e.Message}",
                "See whether another program holds it (nvidia-smi), and update NVIDIA's driver if it is old.",
                e);
        }
    }

    /// <summary>The stream of what this thread records, else the one that all share.</summary>
    public override AcceleratorStream Stream => Recorded?.Stream ?? base.Stream;

    private Session? Recorded => s_recorded is { } session && session.Platform == this ? session : null;

    public Staging CreateStaging() => new(AllocateLocked, address => s_api.FreeHostMemory(address));

    /// <summary>Records what a body queues, on a stream of its own: other threads go on queueing. Nothing can be read meanwhile.</summary>
    public StreamGraph Record(Staging staging, Action body)
    {
        Accelerator.Bind();
        lock (_opening)
        {
            _graphs ??= new GraphApi(CudaDriver.Function);
        }

        using AcceleratorStream stream = Accelerator.CreateStream();
        Session? outer = s_recorded;
        s_recorded = new Session(this, stream, staging);
        try
        {
            return new StreamGraph(_graphs, ((CudaStream)stream).StreamPtr, Check, body);
        }
        finally
        {
            s_recorded = outer;
        }
    }

    public void Launch(StreamGraph graph)
    {
        Accelerator.Bind();
        graph.Launch(StreamHandle);
    }

    /// <summary>Copies between page-locked and device memory, in the stream's order.</summary>
    public void Copy(nint source, nint destination, long bytes)
    {
        Accelerator.Bind();
        Check(bytes == 0 ? CudaError.CUDA_SUCCESS : s_api.MemcpyAsync(destination, source, (nint)bytes, Stream));
    }

    /// <summary>The driver's handle of the stream.</summary>
    public nint StreamHandle => ((CudaStream)Stream).StreamPtr;

    protected override nint AllocateMemory(long bytes)
    {
        Accelerator.Bind();
        CudaError error = s_api.AllocateMemory(out nint address, (nint)bytes);
        if (error == CudaError.CUDA_ERROR_OUT_OF_MEMORY)
        {
            return 0;
        }

        Check(error);
        return address;
    }

    protected override void FreeMemory(nint address, long bytes)
    {
        if (Accelerator.IsDisposed)
        {
            return; // its memory went with it
        }

        Accelerator.Bind();
        s_api.FreeMemory(address); // an error here is an older one, which the next use reports
    }

    public override (long Free, long Total) MemoryInfo()
    {
        Accelerator.Bind();
        return s_api.GetMemoryInfo(out long free, out long total) == CudaError.CUDA_SUCCESS ? (free, total) : (0, 0);
    }

    public override void Write(ReadOnlySpan<byte> source, nint destination)
    {
        Accelerator.Bind();
        if (Recorded is { } recorded && !source.IsEmpty)
        {
            Copy(recorded.Staging.Copy(source), destination, source.Length);
            return;
        }

        fixed (byte* from = source)
        {
            // From pageable memory the driver returns when it has its own copy.
            Check(source.IsEmpty ? CudaError.CUDA_SUCCESS : s_api.MemcpyAsync(destination, (nint)from, source.Length, Stream));
        }
    }

    public override void Read(nint source, Span<byte> destination)
    {
        if (Recorded is not null)
        {
            throw new InvalidOperationException("Nothing can be read from a GPU while its work is recorded as a graph.");
        }

        Accelerator.Bind();
        fixed (byte* to = destination)
        {
            Check(destination.IsEmpty ? CudaError.CUDA_SUCCESS : s_api.MemcpyAsync((nint)to, source, destination.Length, Stream));
            Check(s_api.SynchronizeStream(StreamHandle));
        }
    }

    public override DeviceMark Mark()
    {
        Accelerator.Bind();
        lock (_opening)
        {
            _copies ??= new CopyStream(new CopyApi(CudaDriver.Function), Check);
        }

        return new CudaMark(this, _copies);
    }

    public override void Clear(nint address, long bytes)
    {
        Accelerator.Bind();
        Check(bytes == 0 ? CudaError.CUDA_SUCCESS : s_api.Memset(address, 0, (nint)bytes, Stream));
    }

    public override void Synchronize()
    {
        Accelerator.Bind();
        Check(s_api.SynchronizeStream(StreamHandle));
    }

    public override void Dispose()
    {
        Accelerator.Bind();
        _copies?.Dispose();
        base.Dispose();
    }

    /// <summary>Turns the driver's error into ours.</summary>
    public void Check(CudaError error)
    {
        if (error != CudaError.CUDA_SUCCESS)
        {
            throw new DeviceException(
                $"{Name} failed: {s_api.GetErrorString(error)} ({error}).",
                "What is on the GPU is lost; make the device anew. If it happens again, look at the driver's log (nvidia-smi, dmesg).");
        }
    }

    /// <summary>What a thread records.</summary>
    private sealed record Session(CudaPlatform Platform, AcceleratorStream Stream, Staging Staging);

    private nint AllocateLocked(long bytes)
    {
        Check(s_api.AllocateHostMemory(out nint address, (nint)bytes));
        return address;
    }
}
