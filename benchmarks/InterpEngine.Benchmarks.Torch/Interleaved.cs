using System.Diagnostics;
using System.Runtime.InteropServices;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>
/// Two ways to do the same work, measured in turn, A B A B …, so that whatever else the machine does meets both. BenchmarkDotNet
/// measures one benchmark to its end before the next; on a shared machine that compares two different minutes.
/// </summary>
internal static class Interleaved
{
    private const double SampleSeconds = 0.02;
    private const double WarmUpSeconds = 1;
    private const int FewestRounds = 5;
    private const int ThreadCpuTime = 3;

    /// <summary>
    /// Whether to count the CPU time of the calling thread instead of the time that passes: with one thread computing, on Linux, it does
    /// not see what other programs take away from it, which makes a busy machine's figures useful.
    /// </summary>
    public static bool CountsCpuTime { get; set; }

    /// <summary>Both medians, in seconds, of samples that fill about the given time.</summary>
    /// <param name="ours">One way.</param>
    /// <param name="theirs">The other.</param>
    /// <param name="seconds">How long to measure, at least.</param>
    /// <param name="tidy">What follows each call of either and is not counted; null for nothing.</param>
    public static (double Ours, double Theirs) Measure(Action ours, Action theirs, double seconds, Action? tidy = null)
    {
        WarmUp(ours, tidy);
        WarmUp(theirs, tidy);
        int oursAtOnce = CallsInSample(ours, tidy), theirsAtOnce = CallsInSample(theirs, tidy);
        List<double> oursTimes = [], theirsTimes = [];
        long begin = Stopwatch.GetTimestamp();
        while (oursTimes.Count < FewestRounds || Stopwatch.GetElapsedTime(begin).TotalSeconds < seconds)
        {
            oursTimes.Add(Sample(ours, oursAtOnce, tidy));
            theirsTimes.Add(Sample(theirs, theirsAtOnce, tidy));
        }

        return (Median(oursTimes), Median(theirsTimes));
    }

    /// <summary>
    /// Bytes that the machine could have read while ours ran once, by its bandwidth just before and after; the median of some rounds.
    /// Bandwidth can change by a factor of two from one second to the next where others share the memory.
    /// </summary>
    public static double ReadableBytes(Action ours, Func<double> gigabytesPerSecond)
    {
        int calls = CallsInSample(ours);
        List<double> readable = [];
        double before = gigabytesPerSecond();
        while (readable.Count < FewestRounds)
        {
            double time = Sample(ours, calls), after = gigabytesPerSecond();
            readable.Add(time * Math.Max(before, after) * 1e9);
            before = after;
        }

        return Median(readable);
    }

    /// <summary>.NET compiles again, better, what has run often: where calls are short, that counts on either side.</summary>
    private static void WarmUp(Action action, Action? tidy)
    {
        long begin = Stopwatch.GetTimestamp();
        do
        {
            action();
            tidy?.Invoke();
        }
        while (Stopwatch.GetElapsedTime(begin).TotalSeconds < WarmUpSeconds);
    }

    private static double Sample(Action action, int calls, Action? tidy = null)
    {
        // The other side's threads may still be spinning for work, and its data fill the caches: a pause, and a call that does not count.
        Thread.Sleep(5);
        action();
        tidy?.Invoke();
        double begin = Now(), tidying = 0;
        for (int i = 0; i < calls; i++)
        {
            action();
            if (tidy is not null)
            {
                double done = Now();
                tidy();
                tidying += Now() - done;
            }
        }

        return (Now() - begin - tidying) / calls;
    }

    private static double Now()
    {
        if (!CountsCpuTime)
        {
            return Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
        }

        var time = new long[2];
        _ = clock_gettime(ThreadCpuTime, time);
        return time[0] + time[1] / 1e9;
    }

    [DllImport("libc")]
    private static extern int clock_gettime(int clock, [Out] long[] secondsAndNanoseconds);

    private static int CallsInSample(Action action, Action? tidy = null)
    {
        Sample(action, 1, tidy);
        return (int)Math.Clamp(SampleSeconds / Sample(action, 1, tidy), 1, 1000);
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        int half = values.Count / 2;
        return values.Count % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    }
}
