namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>
/// Page-locked host memory for what a recording copies to the GPU and back: a graph reads and writes it when it runs, which is after the
/// caller's own memory has gone.
/// </summary>
/// <param name="allocate">Allocates page-locked bytes.</param>
/// <param name="free">Frees them.</param>
internal sealed unsafe class Staging(Func<long, nint> allocate, Action<nint> free) : IDisposable
{
    private const long PageBytes = 1 << 16;
    private const long Alignment = 16;

    private readonly List<(nint Address, long Bytes)> _pages = [];
    private long _used;

    /// <summary>Room for some bytes.</summary>
    public nint Reserve(long bytes)
    {
        if (_pages.Count == 0 || bytes > _pages[^1].Bytes - _used)
        {
            long page = Math.Max(PageBytes, bytes);
            _pages.Add((allocate(page), page));
            _used = 0;
        }

        nint address = _pages[^1].Address + (nint)_used;
        _used += (bytes + Alignment - 1) / Alignment * Alignment;
        return address;
    }

    /// <summary>A copy of some bytes.</summary>
    public nint Copy(ReadOnlySpan<byte> source)
    {
        nint address = Reserve(source.Length);
        source.CopyTo(new Span<byte>((void*)address, source.Length));
        return address;
    }

    public void Dispose()
    {
        _pages.ForEach(page => free(page.Address));
        _pages.Clear();
    }
}
