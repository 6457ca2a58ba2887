namespace InterpEngine.Kernels;

/// <summary>
/// A point in what a device was asked for. What was computed by then can be read through it while the device goes on with what was asked
/// for later; see <see cref="Device.Mark"/>.
/// </summary>
public class DeviceMark : IDisposable
{
    internal DeviceMark()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the device holds for it.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <summary>Copies a tensor that was complete by then.</summary>
    internal virtual void Download(Tensor source, Span<byte> destination) => source.Device.Download(source, destination);
}
