using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Cpu;

/// <summary>
/// A weight in panels of 16 columns, zeros past the last one; the layouts of ik_weight, the same for every instruction set.
/// </summary>
internal sealed class PackedWeight : Weight
{
    private const int PanelWidth = 16;
    private readonly Memory _memory;

    public PackedWeight(ElementType type, int inner, int columns) : base(type, inner, columns)
    {
        long panels = (columns + (PanelWidth - 1L)) / PanelWidth;
        long groups = (inner + (GroupSize - 1L)) / GroupSize;
        Int128 bytes = panels * type switch
        {
            ElementType.F32 => (Int128)inner * PanelWidth * sizeof(float),
            ElementType.BF16 => (Int128)groups * GroupSize * PanelWidth * 2,
            _ => (Int128)groups * (GroupSize + sizeof(float)) * PanelWidth,
        };
        Bytes = bytes <= long.MaxValue ? (long)bytes : -1;
        _memory = new Memory(Bytes);
        if (_memory.IsInvalid)
        {
            throw new DeviceException(
                $"There is no memory for a weight [{inner}, {columns}] in {type} of {bytes:N0} bytes.",
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
