using ILGPU.Runtime.Cuda;

namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>
/// Work on a stream that is recorded and launched as one graph. The next recording updates the graph in place where it has the
/// same kernels in the same order, as the steps of a generation have: addresses and numbers may differ. Used by one thread at a
/// time.
/// </summary>
/// <param name="api">The driver's functions.</param>
/// <param name="stream">The driver's handle of a stream that is not the default one.</param>
/// <param name="check">Throws what an error means.</param>
internal sealed unsafe class StreamGraph(GraphApi api, nint stream, Action<CudaError> check) : IDisposable
{
    private nint _executable;

    /// <summary>Whether work is being recorded.</summary>
    public bool IsRecording { get; private set; }

    /// <summary>Runs what a body queues, after all of it is queued. If the body throws, nothing of it runs.</summary>
    public void Run(Action body)
    {
        check(api.BeginCapture(stream, CaptureMode.Relaxed));
        IsRecording = true;
        nint graph = 0;
        try
        {
            body();
        }
        catch
        {
            _ = End(out graph); // what the body threw says more
            Destroy(graph);
            throw;
        }

        try
        {
            check(End(out graph));
            Prepare(graph);
        }
        finally
        {
            Destroy(graph);
        }

        check(api.Launch(_executable, stream));
    }

    public void Dispose()
    {
        if (_executable != 0)
        {
            api.DestroyExecutable(_executable);
            _executable = 0;
        }
    }

    private CudaError End(out nint graph)
    {
        IsRecording = false;
        nint ended = 0;
        CudaError error = api.EndCapture(stream, &ended);
        graph = ended;
        return error;
    }

    /// <summary>Makes the executable graph what was recorded: by an update, or anew.</summary>
    private void Prepare(nint graph)
    {
        UpdateResult result;
        if (_executable != 0 && api.Update(_executable, graph, &result) == CudaError.CUDA_SUCCESS)
        {
            return;
        }

        Dispose();
        nint executable;
        check(api.Instantiate(&executable, graph, 0));
        _executable = executable;
    }

    private void Destroy(nint graph)
    {
        if (graph != 0)
        {
            api.DestroyGraph(graph);
        }
    }
}
