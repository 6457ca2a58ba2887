using System.Globalization;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>Several values of some settings: the dictionaries that one run trains from the same rows.</summary>
internal static class TrainingSweep
{
    /// <summary>What decides about the rows, of which there is one stream, and about the run.</summary>
    private static readonly string[] s_shared =
    [
        "model", "text", "capture", "point", "target", "context", "prepend_bos", "exclude_special", "buffer", "normalize", "normalize_batches",
        "batch", "steps", "checkpoint_every", "levels",
    ];

    /// <summary>The settings of each dictionary, and its folder.</summary>
    /// <param name="settings">What they have in common.</param>
    /// <param name="sweeps">KEY=A,B,… each; every value goes with every value of the others.</param>
    /// <param name="folder">The run's folder, which is also that of a dictionary where there is nothing to choose from.</param>
    /// <exception cref="UsageException">It is not written so, or all dictionaries of a run have that setting in common.</exception>
    public static IEnumerable<(TrainingSettings Settings, TrainingFolder Folder)> Of(TrainingSettings settings, IReadOnlyList<string> sweeps, string folder)
    {
        IEnumerable<(TrainingSettings Settings, string Name)> all = [(settings, "")];
        foreach (string sweep in sweeps.Order(StringComparer.Ordinal))
        {
            string[] sides = sweep.Split('=', 2), values = sides.Length < 2 ? [] : sides[1].Split(',', StringSplitOptions.TrimEntries);
            if (values.Length == 0 || values.Contains("") || values.Distinct().Count() < values.Length)
            {
                throw new UsageException($"--sweep is '{sweep}'; expected KEY=A,B,… with values that differ.");
            }

            string key = sides[0];
            if (s_shared.Contains(key))
            {
                throw new UsageException($"'{key}' is the same for all dictionaries of a run.", "Train them one after the other.");
            }

            all = [.. from one in all
                from value in Sorted(values)
                select (one.Settings.With($"--sweep {key}", key, value), $"{one.Name}{(one.Name.Length > 0 ? "_" : "")}{key}-{Safe(value)}")];
        }

        return all.Select(one => one.Name.Length == 0
            ? (one.Settings, new TrainingFolder(folder))
            : (one.Settings, new TrainingFolder(Path.Combine(folder, one.Name), folder)));
    }

    /// <summary>In an order of their own, so that a run is the same however it is asked for.</summary>
    private static IEnumerable<string> Sorted(IEnumerable<string> values) => values.OrderBy(
        value => double.TryParse(value, CultureInfo.InvariantCulture, out double number) ? number : double.PositiveInfinity).ThenBy(value => value, StringComparer.Ordinal);

    private static string Safe(string value) => string.Concat(value.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' ? c : '_'));
}
