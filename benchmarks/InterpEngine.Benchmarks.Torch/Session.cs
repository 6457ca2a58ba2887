using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>One run of the comparisons: the device, the machine's peaks, and what was measured so far.</summary>
internal sealed class Session(double secondsEach, int threads) : IDisposable
{
    private double _gigaflops, _bf16Gigaflops, _bandwidth;

    public CpuDevice Device { get; } = new(threads);

    public List<Result> Results { get; } = [];

    /// <summary>Peaks of memory: what, ours, the other's, in bytes.</summary>
    public List<(string What, long Ours, long? Theirs)> Memory { get; } = [];

    public double Gigaflops => _gigaflops;

    /// <summary>Of BF16 numbers.</summary>
    public double Bf16Gigaflops => _bf16Gigaflops;

    public double Bandwidth => _bandwidth;

    /// <summary>Measures the peaks; a later, higher figure replaces an earlier one, as other programs can only lower them.</summary>
    public void MeasurePeaks()
    {
        _gigaflops = Math.Max(_gigaflops, Device.MeasureGigaflops());
        _bf16Gigaflops = Math.Max(_bf16Gigaflops, Device.MeasureGigaflops(ElementType.BF16));
        _bandwidth = Math.Max(_bandwidth, Device.MeasureBandwidth());
    }

    public void Measure(Comparison work)
    {
        (double ours, double theirs) = Interleaved.Measure(work.Ours, work.Theirs, secondsEach, work.Tidy);
        Add(new Result(work.Work, work.Against, ours, theirs, work.Bar));
        MeasurePeaks();
        if (work.OfPeak is { } peak)
        {
            Add(new Result(work.Work, "FMA peak", ours, peak.Flops / _gigaflops / 1e9, peak.Bar));
        }

        if (work.OfBf16Peak is { } bf16)
        {
            Add(new Result(work.Work, "BF16 peak", ours, bf16.Flops / _bf16Gigaflops / 1e9, bf16.Bar));
        }

        if (work.OfBandwidth is { } bandwidth)
        {
            double share = bandwidth.Bytes / Interleaved.ReadableBytes(work.Ours, Device.MeasureBandwidth);
            Add(new Result(work.Work, "read bandwidth", ours, share * ours, bandwidth.Bar));
        }
    }

    public void Dispose() => Device.Dispose();

    private void Add(Result result)
    {
        Results.Add(result);
        Console.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{result.Key}: {result.Ours * 1e3:F2} ms, {result.Theirs * 1e3:F2} ms, ratio {result.Ratio:F2}"));
    }
}
