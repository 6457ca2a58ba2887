using System.CommandLine;
using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Gpu;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>Options that several commands have.</summary>
internal static class CommonOptions
{
    private const string Cpu = "cpu";
    private const string Reference = "reference";
    private const string Cuda = "cuda";
    private const string Best = "best";

    private static readonly Dictionary<string, ElementType> s_weightTypes = new()
    {
        ["f32"] = ElementType.F32,
        ["bf16"] = ElementType.BF16,
        ["int8"] = ElementType.I8,
    };

    /// <summary>Logs to stderr; every command has it.</summary>
    public static Option<bool> Verbose { get; } = new("--verbose", "-v")
    {
        Description = "Log to stderr what is done; show the stack of unexpected failures.",
        Recursive = true,
    };

    /// <summary>Where to compute.</summary>
    public static Option<string> DeviceName { get; } = CreateDevice();

    /// <summary>Threads to compute with.</summary>
    public static Option<int> Threads { get; } = new Option<int>("--threads")
    {
        Description = "Threads to compute with; 0 for as many as there are. Results do not depend on it.",
        HelpName = "N",
    }.AtLeast(0);

    /// <summary>How weights are kept.</summary>
    public static Option<string> Weights { get; } = CreateWeights();

    /// <summary>How weights are processed.</summary>
    public static Option<string?> Process { get; } = new("--process")
    {
        Description = "Process the weights as TransformerLens does: steps such as fold_ln,center_unembed, or 'default' for what it does "
            + "unless told otherwise (docs/weight-processing.md).",
        HelpName = "STEPS",
    };

    /// <summary>Machine-readable results.</summary>
    public static Option<bool> Json { get; } = new("--json")
    {
        Description = "Write the result as JSON (docs/cli.md has the schema).",
    };

    /// <summary>Adds <c>--device</c>, <c>--threads</c>, <c>--weights</c> and <c>--process</c> to a command that runs a model.</summary>
    public static void AddDevice(Command command)
    {
        command.Options.Add(DeviceName);
        command.Options.Add(Threads);
        command.Options.Add(Weights);
        command.Options.Add(Process);
    }

    /// <summary>How a command line wants its model loaded.</summary>
    /// <exception cref="UsageException">There is no such processing step.</exception>
    public static LoadOptions Loading(ParseResult parse, string model) => new()
    {
        WeightType = s_weightTypes[parse.GetValue(Weights)!],
        Processing = ProcessingOf(parse.GetValue(Process), model),
    };

    private static WeightProcessing ProcessingOf(string? steps, string model)
    {
        if (steps is null or "default")
        {
            return steps is null
                ? WeightProcessing.None
                : WeightProcessingSteps.Default(Model.ReadDescription(ModelSource.Resolve(model)));
        }

        var processing = WeightProcessing.None;
        foreach (string step in steps.Split(','))
        {
            processing |= WeightProcessingSteps.All.FirstOrDefault(known => known.Name == step) is (not null, var found)
                ? found
                : throw new UsageException(
                    $"--process has '{step}', which is no processing step.",
                    $"Steps are {string.Join(", ", WeightProcessingSteps.All.Select(known => known.Name))}; 'default' is the usual ones.");
        }

        return processing;
    }

    /// <summary>The device that a command line asks for.</summary>
    /// <exception cref="DeviceException">It is absent.</exception>
    public static Device OpenDevice(ParseResult parse, Terminal terminal)
    {
        string name = parse.GetValue(DeviceName)!;
        if (name == Reference)
        {
            return Device.Reference();
        }

        if (GpuIndex(name) is { } index)
        {
            return Device.Cuda(index);
        }

        if (name == Best && CudaGpu.All.Any(gpu => gpu.Defect is null))
        {
            return Device.Best();
        }

        if (!CpuDevice.IsAvailable)
        {
            terminal.Note("the native CPU kernels are missing; computing with the plain C# reference, which is slow.");
            terminal.Error.WriteLine("hint: `interp doctor` says why.");
        }

        return Device.Cpu(parse.GetValue(Threads));
    }

    /// <summary>Refuses numbers below a minimum.</summary>
    public static Option<int> AtLeast(this Option<int> option, int minimum)
    {
        option.Validators.Add(result =>
        {
            // What is no integer at all is refused by the parser itself.
            if (result.Tokens is [{ Value: var text }] && int.TryParse(text, CultureInfo.InvariantCulture, out int value)
                && value < minimum)
            {
                result.AddError($"{option.Name} is {value}; expected an integer of at least {minimum}.");
            }
        });
        return option;
    }

    private static Option<string> CreateWeights()
    {
        var option = new Option<string>("--weights")
        {
            Description = "How weights are kept: f32, bf16 (half the memory, faster) or int8 (0.28 of it; groups of 32 with a scale).",
            DefaultValueFactory = _ => "f32",
        };
        option.AcceptOnlyFromAmong([.. s_weightTypes.Keys]);
        return option;
    }

    private static Option<string> CreateDevice()
    {
        var option = new Option<string>("--device")
        {
            Description = "Where to compute: cpu, cuda or cuda:N (an NVIDIA GPU), best (a GPU if there is one, else cpu), or reference "
                + "(plain C# in double precision, slow).",
            HelpName = "cpu|cuda[:N]|best|reference",
            DefaultValueFactory = _ => Cpu,
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var name }] && name is not (Cpu or Best or Reference) && GpuIndex(name) is null)
            {
                result.AddError($"--device is '{name}'; expected cpu, cuda, cuda:N, best or reference.");
            }
        });
        return option;
    }

    /// <summary>The number of the GPU that a name means; null where it means none.</summary>
    private static int? GpuIndex(string name) => name == Cuda ? 0
        : name.StartsWith(Cuda + ":", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan(Cuda.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            ? index : null;
}
