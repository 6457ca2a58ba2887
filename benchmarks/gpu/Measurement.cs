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
    private const int Repeats = 7;
    private const double Seconds = 0.03;

    /// <summary>The median of seven times of about 30 ms each, in seconds.</summary>
    public double Time(Device device)
    {
        using var owner = new Owner();
        Action run = Prepare(owner);
        double once = Elapsed(device, run, 3) / 3; // kernels are compiled in the first
        once = Math.Min(once, Elapsed(device, run, 2) / 2);
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
