namespace InterpEngine.Kernels;

/// <summary>
/// The memory of one device, recycled by size class: a forward pass of any depth needs the buffers of one layer. Thread-safe.
/// </summary>
public sealed class Arena
{
    /// <summary>Where this thread's buffers come from, if not from what all share.</summary>
    [ThreadStatic]
    private static Pool? s_ofThread;

    private readonly Lock _lock = new();
    private readonly Pool _shared;
    private long _live;
    private long _peak;
    private long _reserved;

    internal Arena(Device device) => (Device, _shared) = (device, new Pool(this));

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
            Trim(_shared);
        }
    }

    /// <summary>Gives unused buffers back now and the others as soon as they are returned.</summary>
    internal void Close() => Close(_shared);

    /// <summary>Lets a body's buffers come from a pool of their own and go back there, so that no other work gets any of them until the
    /// pool is closed. The body stays on this thread.</summary>
    internal Pool Isolate(Action body)
    {
        Pool? outer = s_ofThread;
        var pool = new Pool(this);
        s_ofThread = pool;
        try
        {
            body();
            return pool;
        }
        catch
        {
            Close(pool);
            throw;
        }
        finally
        {
            s_ofThread = outer;
        }
    }

    /// <summary>A buffer that goes back to the device when it is returned, and is not kept for others.</summary>
    internal MemoryBlock RentOnce(long bytes)
    {
        Pool? outer = s_ofThread;
        s_ofThread = new Pool(this) { IsClosed = true };
        try
        {
            return Rent(bytes);
        }
        finally
        {
            s_ofThread = outer;
        }
    }

    /// <summary>Gives a pool's unused buffers back now and the others as soon as they are returned.</summary>
    internal void Close(Pool pool)
    {
        lock (_lock)
        {
            pool.IsClosed = true;
            Trim(pool);
        }
    }

    internal MemoryBlock Rent(long bytes)
    {
        long size = SizeClass(bytes);
        lock (_lock)
        {
            Pool pool = s_ofThread is { } own && own.Arena == this ? own : _shared;
            if (!pool.Free.TryGetValue(size, out Stack<nint>? addresses) || !addresses.TryPop(out nint address))
            {
                address = Device.AllocateMemory(size);
                _reserved += size;
            }

            _live += size;
            _peak = Math.Max(_peak, _live);
            return new MemoryBlock(pool, address, size);
        }
    }

    internal void Return(Pool pool, nint address, long size)
    {
        lock (_lock)
        {
            _live -= size;
            if (pool.IsClosed)
            {
                Device.FreeMemory(address, size);
                _reserved -= size;
                return;
            }

            if (!pool.Free.TryGetValue(size, out Stack<nint>? addresses))
            {
                pool.Free[size] = addresses = new Stack<nint>();
            }

            addresses.Push(address);
        }
    }

    private void Trim(Pool pool)
    {
        foreach ((long size, Stack<nint> addresses) in pool.Free)
        {
            while (addresses.TryPop(out nint address))
            {
                Device.FreeMemory(address, size);
                _reserved -= size;
            }
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

/// <summary>Buffers of an arena that wait to be used again, by size.</summary>
internal sealed class Pool(Arena arena)
{
    public Arena Arena => arena;

    public Dictionary<long, Stack<nint>> Free { get; } = [];

    /// <summary>Whether buffers go back to the device instead.</summary>
    public bool IsClosed { get; set; }
}

/// <summary>One buffer of an arena, shared by the tensors on it. A block that nobody disposed goes back when it is collected.</summary>
internal sealed class MemoryBlock(Pool pool, nint address, long size)
{
    private int _references = 1;

    ~MemoryBlock() => pool.Arena.Return(pool, address, size);

    public Arena Arena => pool.Arena;

    public long Address => address;

    public void AddReference() => Interlocked.Increment(ref _references);

    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
#pragma warning disable CA1816 // A count of references is not IDisposable: Release is its Dispose.
            GC.SuppressFinalize(this);
#pragma warning restore CA1816
            pool.Arena.Return(pool, address, size);
        }
    }
}
