using System.Diagnostics;
using System.Text.Json.Nodes;
using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>Something to be timed, here and in torch.</summary>
/// <param name="Name">What it is; also what torch's time is found by.</param>
/// <param name="Torch">The same for torch_times.py: a kind and its sizes; null where torch has nothing like it.</param>
/// <param name="Flops">Floating-point operations of one run.</param>
/// <param name="Bytes">Bytes that one run must read and write at least.</param>
/// <param name="Prepare">Makes what it needs, and returns one run.</param>
internal sealed record Measurement(string Name, JsonObject? Torch, double Flops, double Bytes, Func<Owner, Action> Prepare)
{
    private const int Repeats = 7, Recorded = 20;
    private const double Seconds = 0.03, Short = 0.001;

    /// <summary>The medians of seven times of about 30 ms each.</summary>
    public Timing Time(Device device)
    {
        using var owner = new Owner();
        Action run = Prepare(owner);
        double once = Elapsed(device, run, 3) / 3; // kernels are compiled in the first
        once = Math.Min(once, Elapsed(device, run, 2) / 2);
        double seconds = Median(device, run, once);
        if (!IsOp || once > Short)
        {
            return new Timing(seconds, null);
        }

        // Short ops also without the time that launching them takes, as a graph has them.
        Tensor input = owner.Own(device.Upload<int>([0], 1));
        using Recording recording = device.Record(input, () =>
        {
            for (int i = 0; i < Recorded; i++)
            {
                run();
            }

            return [];
        });
        int[] nothing = [0];
        recording.Run(nothing);
        return new Timing(seconds, Median(device, () => recording.Run(nothing), once * Recorded) / Recorded);
    }

    /// <summary>Whether it is one op, which can be recorded.</summary>
    private bool IsOp => Flops + Bytes > 0 && !Name.Contains("generate", StringComparison.Ordinal);

    private static double Median(Device device, Action run, double once)
    {
        int count = (int)Math.Clamp(Seconds / once, 1, 10_000);
        double[] times = [.. Enumerable.Range(0, Repeats).Select(_ => Elapsed(device, run, count) / count).Order()];
        return times[Repeats / 2];
    }

    private static double Elapsed(Device device, Action run, int count)
    {
        device.Synchronize();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < count; i++)
        {
            run();
        }

        device.Synchronize();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}

/// <summary>What one run took.</summary>
/// <param name="Seconds">Each launched by the host.</param>
/// <param name="RecordedSeconds">As part of a graph, of short ops.</param>
internal readonly record struct Timing(double Seconds, double? RecordedSeconds)
{
    public double Shortest => Math.Min(Seconds, RecordedSeconds ?? double.PositiveInfinity);

    public override string ToString() =>
        RecordedSeconds is { } recorded ? $"{Seconds * 1e6:0.0} µs, recorded {recorded * 1e6:0.0} µs" : $"{Seconds * 1e6:0.0} µs";
}

/// <summary>Disposes what a measurement made.</summary>
internal sealed class Owner : IDisposable
{
    private readonly Stack<IDisposable> _owned = [];

    public T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Push(disposable);
        return disposable;
    }

    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? disposable))
        {
            disposable.Dispose();
        }
    }
}
