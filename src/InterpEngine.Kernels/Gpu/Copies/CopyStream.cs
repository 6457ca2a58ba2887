using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu.Copies;

/// <summary>
/// Copies results to the host on a stream of its own, beside the kernels of what was asked for later. The GPU copies into two page-locked
/// buffers in turn: while it fills one, the host empties the other.
/// </summary>
internal sealed unsafe class CopyStream : IDisposable
{
    /// <summary>Bytes of a buffer: enough that the wait for each copy does not count.</summary>
    public const int PieceBytes = 4 << 20;

    private readonly CopyApi _api;
    private readonly Action<CudaError> _check;
    private readonly Lock _lock = new();
    private readonly nint[] _buffers = new nint[2];
    private readonly nint[] _filled = new nint[2];
    private nint _stream;

    /// <summary>Opens the stream on the GPU whose context is current; errors go to a function that throws.</summary>
    public CopyStream(CopyApi api, Action<CudaError> check)
    {
        (_api, _check) = (api, check);
        try
        {
            nint created;
            check(api.CreateStream(&created, CopyApi.NonBlocking));
            _stream = created;
            for (int i = 0; i < _buffers.Length; i++)
            {
                check(api.AllocateLocked(&created, PieceBytes));
                _buffers[i] = created;
                _filled[i] = CreateEvent();
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>An event behind all that another stream was asked for until now.</summary>
    public nint Mark(nint stream)
    {
        nint mark = CreateEvent();
        _check(_api.Record(mark, stream));
        return mark;
    }

    /// <summary>Destroys such an event.</summary>
    public void Release(nint mark) => _api.DestroyEvent(mark);

    /// <summary>Copies what was complete by a mark.</summary>
    public void Read(nint mark, nint source, Span<byte> destination)
    {
        lock (_lock)
        {
            _check(_api.WaitFor(_stream, mark, 0));
            int pieces = (int)((destination.Length + (PieceBytes - 1L)) / PieceBytes);
            for (int piece = 0; piece <= pieces; piece++)
            {
                if (piece < pieces)
                {
                    long at = (long)piece * PieceBytes;
                    nuint bytes = (nuint)Math.Min(PieceBytes, destination.Length - at);
                    _check(_api.CopyToHost((void*)_buffers[piece % 2], source + (nint)at, bytes, _stream));
                    _check(_api.Record(_filled[piece % 2], _stream));
                }

                if (piece > 0)
                {
                    int previous = piece - 1, start = previous * PieceBytes;
                    Span<byte> to = destination[start..Math.Min(destination.Length, start + PieceBytes)];
                    _check(_api.Synchronize(_filled[previous % 2]));
                    new ReadOnlySpan<byte>((void*)_buffers[previous % 2], to.Length).CopyTo(to);
                }
            }
        }
    }

    public void Dispose()
    {
        for (int i = 0; i < _buffers.Length; i++)
        {
            _ = _filled[i] != 0 ? _api.DestroyEvent(_filled[i]) : default;
            _ = _buffers[i] != 0 ? _api.FreeLocked(_buffers[i]) : default;
            (_filled[i], _buffers[i]) = (0, 0);
        }

        _ = _stream != 0 ? _api.DestroyStream(_stream) : default;
        _stream = 0;
    }

    private nint CreateEvent()
    {
        nint created;
        _check(_api.CreateEvent(&created, CopyApi.NoTiming));
        return created;
    }
}
