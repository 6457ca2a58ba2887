using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Benchmarks;

/// <summary>This machine: its device, and what it can do at most, measured once in this run.</summary>
internal static class Machine
{
    private static readonly Lazy<(double Gigaflops, double Bandwidth)> Measured = new(Measure);

    public static CpuDevice Device { get; } = new();

    /// <summary>Peak of fused multiply-adds, GFLOP/s.</summary>
    public static double Gigaflops => Measured.Value.Gigaflops;

    /// <summary>Rate of reads from memory, GB/s.</summary>
    public static double Bandwidth => Measured.Value.Bandwidth;

    private static (double Gigaflops, double Bandwidth) Measure() => (Device.MeasureGigaflops(), Device.MeasureBandwidth());
}
