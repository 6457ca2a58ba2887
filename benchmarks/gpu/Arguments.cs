using System.Globalization;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>What the command does.</summary>
/// <param name="DeviceIndex">Which GPU; null for ILGPU's simulator.</param>
/// <param name="Parts">What to run, in order.</param>
/// <param name="Report">Where the report goes.</param>
/// <param name="Python">The Python that may have torch.</param>
/// <param name="Only">Measurements whose names contain one of these, separated by |.</param>
/// <param name="Setup">Setups of the device whose names contain this.</param>
internal sealed record Arguments(
    int? DeviceIndex, IReadOnlyList<string> Parts, string Report, string Python, string Only, string Setup)
{
    private const string Usage = """
        interp-gpu: judges and measures InterpEngine on an NVIDIA GPU and writes one JSON report.

          --device cuda:N   which GPU (cuda:0)
          --simulate        the conformance suite's logic on ILGPU's simulator, on a machine without a GPU
          --parts A,B,…     conformance, goldens, benchmarks (all; with --simulate: conformance)
          --only A|B|…      of the benchmarks those whose names contain one of the texts
          --setup TEXT      of the ways to compute (bf16, cuBLASLt; bf16, own products; fp32) those whose names contain the text
          --report FILE     where the report goes (gpu-report.json)
          --python COMMAND  a Python with torch, to compare with; left out where it has none (python3)
        """;

    private static readonly string[] s_parts = ["conformance", "goldens", "benchmarks"];

    /// <summary>The name under which the tests open the device.</summary>
    public string DeviceName => DeviceIndex is { } index ? $"cuda {index}" : "gpu simulated";

    public bool Wants(string measurement) => Only.Split('|').Any(text => measurement.Contains(text, StringComparison.Ordinal));

    public static Arguments Parse(string[] args)
    {
        int? device = 0;
        string[]? parts = null;
        string report = "gpu-report.json", python = "python3", only = "", setup = "";
        for (int i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--help" or "-h":
                    Console.WriteLine(Usage);
                    Environment.Exit(0);
                    break;
                case "--simulate":
                    device = null;
                    break;
                case "--device":
                    device = Index(Value());
                    break;
                case "--parts":
                    parts = Value().Split(',');
                    break;
                case "--only":
                    only = Value();
                    break;
                case "--setup":
                    setup = Value();
                    break;
                case "--report":
                    report = Value();
                    break;
                case "--python":
                    python = Value();
                    break;
                default:
                    throw new CommandException($"There is no option {args[i]}.");
            }

            string Value() => ++i < args.Length ? args[i] : throw new CommandException($"{args[i - 1]} needs a value.");
        }

        parts ??= device is null ? ["conformance"] : s_parts;
        if (parts.FirstOrDefault(part => !s_parts.Contains(part)) is { } unknown)
        {
            throw new CommandException($"There is no part '{unknown}'; expected some of {string.Join(", ", s_parts)}.");
        }

        return device is null && parts.Contains("benchmarks")
            ? throw new CommandException("The simulator is not measured: it says nothing about a GPU's speed.")
            : new Arguments(device, parts, report, python, only, setup);
    }

    private static int Index(string name) =>
        name.StartsWith("cuda:", StringComparison.Ordinal)
        && int.TryParse(name["cuda:".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            ? index
            : throw new CommandException($"'{name}' is no GPU; expected cuda:0, cuda:1 and so on.");
}

/// <summary>The command cannot do what it was asked.</summary>
internal sealed class CommandException(string message, string? hint = "See --help.", Exception? inner = null)
    : InterpException(message, hint, inner);
