using ILGPU;
using ILGPU.Runtime;

namespace InterpEngine.Kernels.Gpu;

/// <summary>An accelerator with its stream, and how its memory is had and moved. Everything runs in the stream's order.</summary>
internal abstract class GpuPlatform : IDisposable
{
    /// <summary>Alignment of every buffer in bytes, which ILGPU takes for granted.</summary>
    public const int Alignment = 256;

    private readonly Context _context;
    private readonly AddressSpace _memory;
    private int _buffers;

    protected GpuPlatform(Context context, Accelerator accelerator, KernelCache? cache)
    {
        _context = context;
        Accelerator = accelerator;
        Stream = accelerator.CreateStream();
        Kernels = new KernelFactory(accelerator, cache, () => GroupBytes);
        _memory = new AddressSpace(accelerator);
    }

    public abstract string Name { get; }

    public Accelerator Accelerator { get; }

    /// <summary>Bytes that one op writes to read them again soon: an L2 cache of 40 MiB (A100) or 50 (H100) keeps them.</summary>
    public virtual long CachedBytes => 32 << 20;

    /// <summary>Shared memory that a group may have: 227 KiB on an H100, 163 on an A100, 99 on a GeForce.</summary>
    public abstract int GroupBytes { get; }

    /// <summary>How many columns of an fp32 matrix one op writes for the next: half of <see cref="CachedBytes"/>, since the ops' other
    /// operands have the rest, and whole tiles of products, which are at most 256 wide.</summary>
    public virtual int ColumnsAtOnce(int rows)
    {
        const int tile = 256;
        long columns = CachedBytes / 2 / sizeof(float) / Math.Max(1, rows);
        return (int)Math.Clamp(columns / tile * tile, tile, int.MaxValue / tile * tile);
    }

    /// <summary>Where work is queued.</summary>
    public virtual AcceleratorStream Stream { get; }

    public KernelFactory Kernels { get; }

    /// <summary>Elements at an address, for a kernel.</summary>
    public ArrayView<T> View<T>(nint address, long length) where T : unmanaged => _memory.View<T>(address, length);

    /// <summary>Buffers that were allocated and not freed, for the tests.</summary>
    public int Buffers => _buffers;

    /// <summary>Memory, or 0 where there is none.</summary>
    public nint Allocate(long bytes)
    {
        nint address = AllocateMemory(bytes);
        _ = address != 0 ? Interlocked.Increment(ref _buffers) : _buffers;
        return address;
    }

    public void Free(nint address, long bytes)
    {
        FreeMemory(address, bytes);
        Interlocked.Decrement(ref _buffers);
    }

    /// <summary>Bytes that are free and there altogether, for messages; 0 where that is not known.</summary>
    public abstract (long Free, long Total) MemoryInfo();

    /// <summary>Copies from the host; the source may be changed afterwards.</summary>
    public abstract void Write(ReadOnlySpan<byte> source, nint destination);

    /// <summary>Copies to the host, after all that was asked for before.</summary>
    public abstract void Read(nint source, Span<byte> destination);

    /// <summary>A mark behind all that was asked for, from which results are copied beside what comes later; null where all is done.</summary>
    public virtual DeviceMark? Mark() => null;

    /// <summary>Sets bytes to zero.</summary>
    public abstract void Clear(nint address, long bytes);

    /// <summary>Waits for all that was asked for.</summary>
    public abstract void Synchronize();

    protected abstract nint AllocateMemory(long bytes);

    protected abstract void FreeMemory(nint address, long bytes);

    public virtual void Dispose()
    {
        Stream.Dispose();
        _memory.Dispose();
        Accelerator.Dispose();
        _context.Dispose();
    }
}
