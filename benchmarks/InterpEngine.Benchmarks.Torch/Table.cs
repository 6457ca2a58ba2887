using System.Globalization;
using System.Text;
using TorchSharp;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>The results in Markdown, as docs/performance.md shows them.</summary>
internal static class Table
{
    public static string Of(Session session)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{Processor()}, {session.Device.Name}; libtorch {torch.__version__}, as many threads.");
        text.AppendLine(CultureInfo.InvariantCulture,
            $"Peaks in the same run: {session.Gigaflops:F0} GFLOP/s of fp32 FMA, {session.Bandwidth:F1} GB/s of reads.");
        text.AppendLine();
        text.AppendLine("| work | against | ours | theirs | ratio | bar | |");
        text.AppendLine("| --- | --- | ---: | ---: | ---: | ---: | --- |");
        foreach (Result result in session.Results)
        {
            string bar = result.Bar is > 0 ? result.Bar.Value.ToString("F2", CultureInfo.InvariantCulture) : "";
            string met = bar == "" ? "" : result.Ratio >= result.Bar ? "met" : "**missed**";
            text.AppendLine(CultureInfo.InvariantCulture,
                $"| {result.Work} | {result.Against} | {Time(result.Ours)} | {Time(result.Theirs)} | {result.Ratio:F2} | {bar} | {met} |");
        }

        if (session.Memory.Count > 0)
        {
            text.AppendLine();
            text.AppendLine("| memory | ours | libtorch |");
            text.AppendLine("| --- | ---: | ---: |");
            foreach ((string what, long ours, long? theirs) in session.Memory)
            {
                text.AppendLine(CultureInfo.InvariantCulture, $"| {what} | {Mebibytes(ours)} | {(theirs is null ? "" : Mebibytes(theirs.Value))} |");
            }
        }

        return text.ToString();
    }

    private static string Time(double seconds) => seconds switch
    {
        < 1e-3 => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e6:F0} µs"),
        < 0.1 => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:F2} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:F0} ms"),
    };

    private static string Mebibytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:F1} MiB");

    private static string Processor()
    {
        const string file = "/proc/cpuinfo", key = "model name";
        string? line = File.Exists(file) ? File.ReadLines(file).FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal)) : null;
        return line?[(line.IndexOf(':') + 1)..].Trim() ?? "unknown processor";
    }
}
