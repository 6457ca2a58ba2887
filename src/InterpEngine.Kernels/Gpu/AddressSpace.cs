using ILGPU;
using ILGPU.Runtime;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// All memory of a device as one ILGPU buffer that begins at address 0, so that kernels can be given views of the arena's memory.
/// </summary>
internal sealed class AddressSpace(Accelerator accelerator) : MemoryBuffer(accelerator, long.MaxValue, 1)
{
    /// <summary>Elements that begin at an address, which is a multiple of their size.</summary>
    public ArrayView<T> View<T>(nint address, long length) where T : unmanaged =>
        new(this, (long)address / Interop.SizeOf<T>(), length);

    protected override void MemSet(AcceleratorStream stream, byte value, in ArrayView<byte> targetView) => throw Unused();

    protected override void CopyTo(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) => throw Unused();

    protected override void CopyFrom(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) => throw Unused();

    protected override void DisposeAcceleratorObject(bool disposing)
    {
    }

    private static InvalidOperationException Unused() => new("Memory is moved by the platform.");
}
