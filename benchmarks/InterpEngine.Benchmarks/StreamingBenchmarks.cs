using BenchmarkDotNet.Attributes;
using InterpEngine.Captures;
using InterpEngine.Formats;

namespace InterpEngine.Benchmarks;

/// <summary>What the types of a capture cost on the way to the disk: 64 MiB of values, on one thread, against a plain copy.</summary>
public class StreamingBenchmarks
{
    private const int Rows = 1 << 14, Columns = 1 << 10;

    private readonly float[] _values = RandomData.Array(Rows * Columns), _scales = new float[Rows];
    private readonly byte[] _stored = new byte[Rows * Columns * sizeof(float)];

    [Benchmark(Baseline = true)]
    public void Copy() => Store(SafetensorsType.F32);

    [Benchmark]
    public void BF16() => Store(SafetensorsType.BF16);

    [Benchmark]
    public void F16() => Store(SafetensorsType.F16);

    [Benchmark]
    public void I8() => Store(SafetensorsType.I8);

    private void Store(SafetensorsType type) => Narrowing.Store(type, _values, Rows, _stored, _scales);
}
