using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime.CPU;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// ILGPU's simulator: the kernels' C# on a few threads of the host, for checking their logic. Memory is the host's.
/// </summary>
internal sealed unsafe class SimulatedPlatform : GpuPlatform
{
    private bool _isRecording;

    private SimulatedPlatform(Context context, CPUDevice device, int groupBytes)
        : base(context, device.CreateCPUAccelerator(context, CPUAcceleratorMode.Parallel), null) => GroupBytes = groupBytes;

    public override string Name => "gpu (ilgpu cpu accelerator)";

    /// <summary>So little that tests work in parts too.</summary>
    public override long CachedBytes => 4096;

    public override int ColumnsAtOnce(int rows) => 24;

    public override int GroupBytes { get; }

    /// <summary>Creates it with a number of warps in a group and of threads in a warp, powers of two: more find more, slowly. The kernels of
    /// tensor cores need 32.</summary>
    public static SimulatedPlatform Create(int warps = 2, int lanes = 2, int groupBytes = 227 << 10)
    {
        var context = Context.Create(builder => KernelFactory.Configure(builder));
        return new SimulatedPlatform(context, new CPUDevice(lanes, warps, 1), groupBytes);
    }

    protected override nint AllocateMemory(long bytes)
    {
        try
        {
            return (nint)NativeMemory.AlignedAlloc(checked((nuint)bytes), Alignment);
        }
        catch (OutOfMemoryException)
        {
            return 0;
        }
    }

    protected override void FreeMemory(nint address, long bytes) => NativeMemory.AlignedFree((void*)address);

    public override (long Free, long Total) MemoryInfo() => (0, 0);

    public override void Write(ReadOnlySpan<byte> source, nint destination) => source.CopyTo(new Span<byte>((void*)destination, source.Length));

    public override void Read(nint source, Span<byte> destination)
    {
        if (_isRecording)
        {
            throw new InvalidOperationException("Nothing can be read from a GPU while its work is recorded.");
        }

        new Span<byte>((void*)source, destination.Length).CopyTo(destination);
    }

    /// <summary>Runs what a GPU would record, and refuses what it would.</summary>
    public Tensor[] Record(Func<Tensor[]> body)
    {
        _isRecording = true;
        try
        {
            return body();
        }
        finally
        {
            _isRecording = false;
        }
    }

    public override void Clear(nint address, long bytes) => NativeMemory.Clear((void*)address, checked((nuint)bytes));

    public override void Synchronize()
    {
    }
}
