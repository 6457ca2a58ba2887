namespace InterpEngine.Kernels.Gpu.Copies;

/// <summary>An event on a GPU's stream, and the stream that copies.</summary>
internal sealed class CudaMark(CudaPlatform platform, CopyStream copies) : DeviceMark
{
    private nint _event = copies.Mark(platform.StreamHandle);

    internal override void Download(Tensor source, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_event == 0, this);
        platform.Accelerator.Bind();
        copies.Read(_event, source.Address, destination);
        GC.KeepAlive(source);
    }

    protected override void Dispose(bool disposing)
    {
        nint mark = Interlocked.Exchange(ref _event, 0);
        if (mark != 0 && !platform.Accelerator.IsDisposed)
        {
            platform.Accelerator.Bind();
            copies.Release(mark);
        }

        base.Dispose(disposing);
    }
}
