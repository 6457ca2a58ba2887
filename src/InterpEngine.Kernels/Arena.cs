namespace InterpEngine.Kernels;

/// <summary>
/// The memory of one device, recycled by size class: a forward pass of any depth needs the buffers of one layer. Thread-safe.
/// </summary>
public sealed class Arena
{
    private readonly Lock _lock = new();
    private readonly Dictionary<long, Stack<nint>> _free = [];
    private long _live;
    private long _peak;
    private long _reserved;
    private bool _closed;

    internal Arena(Device device) => Device = device;

    /// <summary>The device whose memory this is.</summary>
    public Device Device { get; }

    /// <summary>Bytes in buffers that are in use.</summary>
    public long LiveBytes
    {
        get { lock (_lock) { return _live; } }
    }

    /// <summary>The largest <see cref="LiveBytes"/> since the start or the last <see cref="ResetPeak"/>.</summary>
    public long PeakBytes
    {
        get { lock (_lock) { return _peak; } }
    }

    /// <summary>Bytes held from the device: in use and waiting to be used again.</summary>
    public long ReservedBytes
    {
        get { lock (_lock) { return _reserved; } }
    }

    /// <summary>Begins a new measurement of <see cref="PeakBytes"/>.</summary>
    public void ResetPeak()
    {
        lock (_lock)
        {
            _peak = _live;
        }
    }

    /// <summary>Gives every unused buffer back to the device.</summary>
    public void Trim()
    {
        lock (_lock)
        {
            foreach ((long size, Stack<nint> addresses) in _free)
            {
                while (addresses.TryPop(out nint address))
                {
                    Device.FreeMemory(address, size);
                    _reserved -= size;
                }
            }
        }
    }

    /// <summary>Gives unused buffers back now and the others as soon as they are returned.</summary>
    internal void Close()
    {
        lock (_lock)
        {
            _closed = true;
            Trim();
        }
    }

    internal MemoryBlock Rent(long bytes)
    {
        long size = SizeClass(bytes);
        lock (_lock)
        {
            if (!_free.TryGetValue(size, out Stack<nint>? addresses) || !addresses.TryPop(out nint address))
            {
                address = Device.AllocateMemory(size);
                _reserved += size;
            }

            _live += size;
            _peak = Math.Max(_peak, _live);
            return new MemoryBlock(this, address, size);
        }
    }

    internal void Return(nint address, long size)
    {
        lock (_lock)
        {
            _live -= size;
            if (_closed)
            {
                Device.FreeMemory(address, size);
                _reserved -= size;
                return;
            }

            if (!_free.TryGetValue(size, out Stack<nint>? addresses))
            {
                _free[size] = addresses = new Stack<nint>();
            }

            addresses.Push(address);
        }
    }

    /// <summary>Eight classes per power of two, at least 256 bytes apart: at most 1/8 of a large buffer is lost.</summary>
    internal static long SizeClass(long bytes)
    {
        long step = 256;
        while (step * 16 < bytes)
        {
            step *= 2;
        }

        return Math.Max(1, (bytes + step - 1) / step) * step;
    }
}

/// <summary>One buffer of an arena, shared by the tensors on it. A block that nobody disposed goes back when it is collected.</summary>
internal sealed class MemoryBlock(Arena arena, nint address, long size)
{
    private int _references = 1;

    ~MemoryBlock() => arena.Return(address, size);

    public Arena Arena => arena;

    public long Address => address;

    public void AddReference() => Interlocked.Increment(ref _references);

    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
#pragma warning disable CA1816 // A count of references is not IDisposable: Release is its Dispose.
            GC.SuppressFinalize(this);
#pragma warning restore CA1816
            arena.Return(address, size);
        }
    }
}
