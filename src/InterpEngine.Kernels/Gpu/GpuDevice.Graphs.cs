using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    private readonly Lock _recording = new();
    private StreamGraph? _graph;

    /// <inheritdoc/>
    public override void RunAsGraph(Action body)
    {
        ArgumentNullException.ThrowIfNull(body);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (!Options.Graphs || _platform is not CudaPlatform cuda)
        {
            body();
            return;
        }

        lock (_recording)
        {
            _graph ??= new StreamGraph(new GraphApi(CudaDriver.Function), cuda.StreamHandle, cuda.Check);
            cuda.Record(() => _graph.Run(body));
        }
    }
}
