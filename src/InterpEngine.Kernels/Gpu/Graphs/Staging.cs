namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>
/// Page-locked host memory for what a recording copies to the GPU: a graph reads it when it runs, which is after the caller's own
/// memory has gone. What is there is kept until the next recording begins.
/// </summary>
/// <param name="allocate">Allocates page-locked bytes.</param>
/// <param name="free">Frees them.</param>
internal sealed unsafe class Staging(Func<long, nint> allocate, Action<nint> free) : IDisposable
{
    private const long PageBytes = 1 << 16;
    private const long Alignment = 16;

    private readonly List<(nint Address, long Bytes)> _pages = [];
    private long _used;

    /// <summary>A copy of some bytes.</summary>
    public nint Copy(ReadOnlySpan<byte> source)
    {
        if (_pages.Count == 0 || source.Length > _pages[^1].Bytes - _used)
        {
            long bytes = Math.Max(PageBytes, source.Length);
            _pages.Add((allocate(bytes), bytes));
            _used = 0;
        }

        nint address = _pages[^1].Address + (nint)_used;
        source.CopyTo(new Span<byte>((void*)address, source.Length));
        _used += (source.Length + Alignment - 1) / Alignment * Alignment;
        return address;
    }

    /// <summary>Forgets everything; the GPU must be done with it. One page is kept.</summary>
    public void Reset()
    {
        while (_pages.Count > 1)
        {
            free(_pages[^1].Address);
            _pages.RemoveAt(_pages.Count - 1);
        }

        _used = 0;
    }

    public void Dispose()
    {
        _pages.ForEach(page => free(page.Address));
        _pages.Clear();
    }
}
