using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Cpu;

/// <summary>
/// A weight in panels of 16 columns, [⌈N/16⌉][K][16] in F32, zeros past the last column; the same for every instruction set.
/// </summary>
internal sealed class PackedWeight : Weight
{
    private const int PanelWidth = 16;
    private readonly Memory _memory;

    public PackedWeight(int inner, int columns) : base(inner, columns)
    {
        long panels = (columns + (PanelWidth - 1L)) / PanelWidth;
        Int128 bytes = (Int128)panels * inner * PanelWidth * sizeof(float);
        Bytes = bytes <= long.MaxValue ? (long)bytes : -1;
        _memory = new Memory(Bytes);
        if (_memory.IsInvalid)
        {
            throw new DeviceException(
                $"There is no memory for a weight [{inner}, {columns}] of {bytes:N0} bytes.",
                "Use a smaller model, or a machine with more memory.");
        }
    }

    public override long Bytes { get; }

    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_memory.IsClosed, this);
            return _memory.DangerousGetHandle();
        }
    }

    protected override void Dispose(bool disposing) => _memory.Dispose();

    /// <summary>Zero pages, huge ones where they fit.</summary>
    private sealed class Memory : SafeHandle
    {
        private readonly long _bytes;

        public Memory(long bytes) : base(0, ownsHandle: true)
        {
            _bytes = bytes;
            SetHandle(bytes < 0 ? 0 : NativeMethods.ik_weight_allocate(bytes));
        }

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle()
        {
            NativeMethods.ik_weight_free(handle, _bytes);
            return true;
        }
    }
}
