using ILGPU;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Copies;
using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Gpu;

/// <summary>An NVIDIA GPU.</summary>
internal sealed unsafe class CudaPlatform : GpuPlatform
{
    private static readonly CudaAPI s_api = CudaAPI.CurrentAPI;
    private readonly Lock _opening = new();
    private Staging? _staging;
    private CopyStream? _copies;
    private bool _isRecording;

    private CudaPlatform(Context context, CudaDevice device)
        : base(context, device.CreateCudaAccelerator(context), KernelCache.OfUser()) =>
        Name = $"cuda:{device.DeviceId} ({device.Name})";

    public override string Name { get; }

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

    /// <summary>Runs a body that records what is queued on the stream. Nothing can be read meanwhile.</summary>
    public void Record(Action body)
    {
        Synchronize(); // the last recording's copies are done
        _staging ??= new Staging(AllocateLocked, address => s_api.FreeHostMemory(address));
        _staging.Reset();
        _isRecording = true;
        try
        {
            body();
        }
        finally
        {
            _isRecording = false;
        }
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
        if (_isRecording && !source.IsEmpty)
        {
            Check(s_api.MemcpyAsync(destination, _staging!.Copy(source), source.Length, Stream));
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
        if (_isRecording)
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
        _staging?.Dispose();
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

    private nint AllocateLocked(long bytes)
    {
        Check(s_api.AllocateHostMemory(out nint address, (nint)bytes));
        return address;
    }
}
