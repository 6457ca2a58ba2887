using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>The committed ratios. Times differ between machines; ratios to the same machine's libtorch and peaks much less.</summary>
/// <param name="Machine">The kind of machine.</param>
/// <param name="Ratios">The ratio of each line of the table.</param>
internal sealed record Baseline(string Machine, SortedDictionary<string, double> Ratios)
{
    private static readonly JsonSerializerOptions Format = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public static Baseline Read(string path) => JsonSerializer.Deserialize<Baseline>(File.ReadAllText(path), Format)
        ?? throw new InvalidDataException($"{path} holds no baseline.");

    /// <summary>Puts ratios into a baseline; lines that were not measured now stay as they are.</summary>
    public static void Update(string path, Session session)
    {
        SortedDictionary<string, double> ratios = File.Exists(path) ? Read(path).Ratios : new(StringComparer.Ordinal);
        foreach (Result result in session.Results)
        {
            ratios[result.Key] = Math.Round(result.Ratio, 3);
        }

        var baseline = new Baseline($"{session.Device.Threads} cores, {session.Device.InstructionSet} server CPU", ratios);
        File.WriteAllText(path, JsonSerializer.Serialize(baseline, Format) + "\n");
    }

    /// <summary>Says what fell by more than a share.</summary>
    /// <returns>Whether nothing did.</returns>
    public bool Compare(IEnumerable<Result> results, double share)
    {
        bool good = true;
        foreach (Result result in results)
        {
            if (!Ratios.TryGetValue(result.Key, out double before))
            {
                Console.WriteLine($"new: {result.Key}");
                continue;
            }

            bool fell = result.Ratio < before * (1 - share);
            good &= !fell;
            string change = string.Create(CultureInfo.InvariantCulture, $"{before:F2} → {result.Ratio:F2} ({result.Ratio / before - 1:+0%;-0%})");
            Console.WriteLine($"{(fell ? "FELL" : "ok")}: {result.Key}: {change}");
        }

        return good;
    }
}
