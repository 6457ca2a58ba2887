using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>What a body queued on a stream, as one graph.</summary>
internal sealed unsafe class StreamGraph : IDisposable
{
    private readonly GraphApi _api;
    private readonly Action<CudaError> _check;
    private nint _executable;

    /// <summary>Records a body. Nothing of it runs yet; if it throws, nothing is left of it.</summary>
    /// <param name="api">The driver's functions.</param>
    /// <param name="stream">The driver's handle of a stream that is not the default one.</param>
    /// <param name="check">Throws what an error means.</param>
    /// <param name="body">Queues work on the stream.</param>
    public StreamGraph(GraphApi api, nint stream, Action<CudaError> check, Action body)
    {
        (_api, _check) = (api, check);
        check(api.BeginCapture(stream, CaptureMode.Relaxed));
        nint graph = 0;
        try
        {
            body();
        }
        catch
        {
            _ = api.EndCapture(stream, &graph); // what the body threw says more
            Destroy(graph);
            throw;
        }

        try
        {
            check(api.EndCapture(stream, &graph));
            nint executable;
            check(api.Instantiate(&executable, graph, 0));
            _executable = executable;
        }
        finally
        {
            Destroy(graph);
        }
    }

    /// <summary>Runs it, after what was queued on a stream before.</summary>
    public void Launch(nint stream)
    {
        ObjectDisposedException.ThrowIf(_executable == 0, this);
        _check(_api.Launch(_executable, stream));
    }

    public void Dispose()
    {
        if (_executable != 0)
        {
            _api.DestroyExecutable(_executable);
            _executable = 0;
        }
    }

    private void Destroy(nint graph)
    {
        if (graph != 0)
        {
            _api.DestroyGraph(graph);
        }
    }
}
