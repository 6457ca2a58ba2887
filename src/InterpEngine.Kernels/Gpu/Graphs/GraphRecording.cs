using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Gpu.Graphs;

/// <summary>
/// Ops as a CUDA graph: the input comes from page-locked memory, outputs go there, and all buffers between are the recording's own, since
/// the graph writes to them whenever it runs.
/// </summary>
internal sealed unsafe class GraphRecording : Recording
{
    private readonly GpuDevice _device;
    private readonly CudaPlatform _platform;
    private readonly Tensor _input;
    private readonly Staging _staging;
    private readonly nint _source;
    private readonly Pool _pool;
    private Tensor[] _outputs = [];
    private nint[] _copies = [];
    private nint _faults;
    private StreamGraph? _graph;
    private bool _hasRun;

    public GraphRecording(GpuDevice device, CudaPlatform platform, Tensor input, Func<Tensor[]> body)
    {
        (_device, _platform, _input) = (device, platform, input.Share());
        _staging = platform.CreateStaging();
        try
        {
            _source = _staging.Reserve(input.Bytes);
            _pool = device.Arena.Isolate(() => _graph = platform.Record(_staging, () => Record(body)));
        }
        catch
        {
            Release();
            throw;
        }
    }

    public override void Run(ReadOnlySpan<int> input)
    {
        ObjectDisposedException.ThrowIf(_graph is null, this);
        if (input.Length != _input.Shape.Count)
        {
            throw new ArgumentException($"{input.Length} numbers for a recording whose input has {_input.Shape.Count}.");
        }

        MemoryMarshal.AsBytes(input).CopyTo(new Span<byte>((void*)_source, checked((int)_input.Bytes)));
        _platform.Launch(_graph);
        _platform.Synchronize();
        _hasRun = true;
        _device.ReportFault(*(int*)_faults);
    }

    public override T[] Output<T>(int index)
    {
        if (!_hasRun)
        {
            throw new InvalidOperationException("A recording has outputs after its first run.");
        }

        return new ReadOnlySpan<T>((void*)_copies[index], checked((int)(_outputs[index].Bytes / sizeof(T)))).ToArray();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing && _graph is not null)
        {
            _platform.Synchronize(); // the graph may still run
            Release();
        }
    }

    private void Record(Func<Tensor[]> body)
    {
        _platform.Copy(_source, _input.Address, _input.Bytes);
        _outputs = body();
        _copies = [.. _outputs.Select(output => _staging.Reserve(output.Bytes))];
        for (int i = 0; i < _outputs.Length; i++)
        {
            _platform.Copy(_outputs[i].Address, _copies[i], _outputs[i].Bytes);
        }

        _faults = _staging.Reserve(sizeof(int));
        _platform.Copy(_device.FaultAddress, _faults, sizeof(int));
    }

    private void Release()
    {
        _graph?.Dispose();
        _graph = null;
        foreach (Tensor output in _outputs)
        {
            output.Dispose();
        }

        _input.Dispose();
        if (_pool is not null)
        {
            _device.Arena.Close(_pool);
        }

        _staging.Dispose();
    }
}
