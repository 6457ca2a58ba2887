using System.Globalization;
using InterpEngine.Benchmarks.Torch;
using TorchSharp;

const string usage = """
    Measures InterpEngine against libtorch in one process, in turn, and prints a Markdown table.
      --only SECTION     products, attention, gpt2, capture, tales, llama, sae, sae-bf16, sae-harvest; may be given several times
      --seconds S        time for each line (default 4)
      --threads N        threads of both; with 1, CPU time is counted, which a busy machine disturbs less (default all)
      --compare FILE     compare the ratios with a baseline; exit code 1 if one fell by more than the share
      --share X          the share that a ratio may fall by (default 0.15)
      --update FILE      put the ratios into a baseline; those of other sections stay
    """;

(string Name, Action<Session> Run)[] sections =
[
    ("products", ProductComparisons.Run), ("attention", AttentionComparisons.Run), ("gpt2", ModelComparisons.Gpt2),
    ("capture", ModelComparisons.Capture), ("tales", ModelComparisons.Tales), ("llama", ModelComparisons.Llama), ("sae", DictionaryComparisons.Single),
    ("sae-bf16", DictionaryComparisons.Half), ("sae-harvest", DictionaryComparisons.Harvest),
];
string? baseline = null, update = null;
double seconds = 4, share = 0.15;
int threads = 0;
var only = new List<string>();
for (int i = 0; i < args.Length; i += 2)
{
    string? value = i + 1 < args.Length ? args[i + 1] : null;
    bool understood = value is not null;
    switch (args[i])
    {
        case "--only": only.Add(value ?? ""); understood &= sections.Any(section => section.Name == value); break;
        case "--seconds": understood &= double.TryParse(value, CultureInfo.InvariantCulture, out seconds); break;
        case "--share": understood &= double.TryParse(value, CultureInfo.InvariantCulture, out share); break;
        case "--threads": understood &= int.TryParse(value, CultureInfo.InvariantCulture, out threads); break;
        case "--compare": baseline = value; break;
        case "--update": update = value; break;
        default: understood = false; break;
    }

    if (!understood)
    {
        Console.Error.WriteLine(usage);
        return 2;
    }
}

using var session = new Session(seconds, threads);
Interleaved.CountsCpuTime = session.Device.Threads == 1 && OperatingSystem.IsLinux();
torch.set_num_threads(session.Device.Threads);
session.MeasurePeaks();
foreach ((string name, Action<Session> run) in sections)
{
    if (only.Count == 0 || only.Contains(name))
    {
        run(session);
    }
}

Console.WriteLine(Table.Of(session));
if (update is not null)
{
    Baseline.Update(update, session);
}

return baseline is null || Baseline.Read(baseline).Compare(session.Results, share) ? 0 : 1;
