using System.Runtime.InteropServices;

namespace InterpEngine.Kernels;

/// <summary>A device whose tensors lie in host memory, aligned to a cache line.</summary>
public abstract unsafe class HostDevice : Device
{
    /// <summary>Alignment of every buffer in bytes: one cache line, one AVX-512 register.</summary>
    public const int Alignment = 64;

    internal override nint AllocateMemory(long bytes)
    {
        try
        {
            return (nint)NativeMemory.AlignedAlloc(checked((nuint)bytes), Alignment);
        }
        catch (OutOfMemoryException e)
        {
            throw OutOfMemory(bytes, e);
        }
    }

    private protected DeviceException OutOfMemory(long bytes, OutOfMemoryException? cause = null) => new(
        $"{Name} has no memory for a buffer of {bytes:N0} bytes; {Arena.ReservedBytes:N0} bytes are held already.",
        "Use a smaller batch or shorter sequences, capture less, or dispose tensors earlier.",
        cause);

    internal override void FreeMemory(nint address, long bytes) => NativeMemory.AlignedFree((void*)address);

    internal override void Upload(ReadOnlySpan<byte> source, Tensor destination)
    {
        fixed (byte* from = source)
        {
            Buffer.MemoryCopy(from, (void*)destination.Address, destination.Bytes, source.Length);
        }

        GC.KeepAlive(destination);
    }

    internal override void Download(Tensor source, Span<byte> destination)
    {
        fixed (byte* to = destination)
        {
            Buffer.MemoryCopy((void*)source.Address, to, destination.Length, source.Bytes);
        }

        GC.KeepAlive(source);
    }
}
