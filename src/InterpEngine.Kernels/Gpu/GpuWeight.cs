namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// A weight column by column: the K elements of column n begin at <c>n × Leading</c>, zeros follow up to a multiple of 32. Behind the
/// elements of an I8 weight, at <see cref="Scales"/>, lie the scales of its groups: <c>n × Leading / 32</c> onward.
/// </summary>
internal sealed class GpuWeight : Weight
{
    private readonly GpuDevice _device;
    private readonly bool _isBorrowed;
    private nint _address;

    public GpuWeight(GpuDevice device, ElementType type, int inner, int columns) : base(type, inner, columns)
    {
        _device = device;
        Leading = (inner + (GroupSize - 1L)) / GroupSize * GroupSize;
        Int128 elements = (Int128)Leading * columns * type.Size(), scales = type == ElementType.I8 ? (Int128)Leading / GroupSize * columns * 4 : 0;
        Int128 aligned = (elements + (GpuPlatform.Alignment - 1)) / GpuPlatform.Alignment * GpuPlatform.Alignment, bytes = aligned + scales;
        _address = bytes > long.MaxValue ? 0 : device.Platform.Allocate(Math.Max(1, (long)bytes));
        if (_address == 0)
        {
            GC.SuppressFinalize(this);
            throw device.OutOfMemory($"a weight [{inner}, {columns}] in {type} of {bytes:N0} bytes");
        }

        Bytes = (long)bytes;
        Scales = _address + (nint)aligned;
        device.Platform.Clear(_address, Bytes);
    }

    /// <summary>A weight of F32 or BF16 in somebody else's memory, which outlives it.</summary>
    public GpuWeight(GpuDevice device, ElementType type, int inner, int columns, nint address, long leading) : base(type, inner, columns)
    {
        (_device, _address, _isBorrowed, Leading) = (device, address, true, leading);
        GC.SuppressFinalize(this);
    }

    ~GpuWeight() => Dispose(false);

    public override long Bytes { get; }

    /// <summary>Elements from one column to the next.</summary>
    public long Leading { get; }

    /// <summary>Whose memory it lies in.</summary>
    public GpuDevice Device => _device;

    /// <summary>The first column's first element.</summary>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return _address;
        }
    }

    /// <summary>The first group's scale.</summary>
    public nint Scales { get; }

    protected override void Dispose(bool disposing)
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address != 0 && !_isBorrowed)
        {
            _device.FreeMemory(address, Bytes);
        }
    }
}
