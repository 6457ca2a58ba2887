using System.Globalization;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>How much an action adds to the resident memory of this process at most. Linux only; elsewhere 0.</summary>
internal static class PeakMemory
{
    public static long Of(Action action)
    {
        if (!OperatingSystem.IsLinux())
        {
            return 0;
        }

        GC.Collect();

        // "5" sets the high-water mark back to what is resident now.
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = HighWater();
        action();
        return HighWater() - before;
    }

    private static long HighWater()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
