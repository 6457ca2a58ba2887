using BenchmarkDotNet.Attributes;

namespace InterpEngine.Benchmarks;

/// <summary>Loading a GPT-2-small-shaped checkpoint against a plain read of its file, which the system has cached.</summary>
public class LoadBenchmarks
{
    private readonly byte[] _buffer = new byte[8 << 20];
    private RandomCheckpoint? _checkpoint;

    [GlobalSetup]
    public void Write() => _checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);

    [GlobalCleanup]
    public void Delete() => _checkpoint!.Dispose();

    [Benchmark(Baseline = true)]
    public void PlainRead()
    {
        using FileStream file = new(_checkpoint!.WeightsFile, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        while (file.Read(_buffer) > 0)
        {
        }
    }

    [Benchmark]
    public void Load() => Model.Load(_checkpoint!.Folder, Machine.Device).Dispose();
}
