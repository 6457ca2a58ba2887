using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Gpu;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary><c>interp doctor</c>: what this machine has and how fast it is.</summary>
internal static class DoctorCommand
{
    private const string Library = "interp_kernels";

    public static Command Create()
    {
        var command = new ExampleCommand(
            "doctor",
            "Show what the engine finds on this machine, and measure it.",
            "interp doctor",
            "interp doctor --threads 4 --json")
        {
            CommonOptions.Threads, CommonOptions.Json,
        };
        command.SetAction((parse, _) => Task.Run(() => Run(parse), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse)
    {
        var terminal = Terminal.Of(parse);
        using CpuDevice? cpu = CpuDevice.IsAvailable ? new CpuDevice(parse.GetValue(CommonOptions.Threads)) : null;
        double? gigaflops = cpu?.MeasureGigaflops(), bandwidth = cpu?.MeasureBandwidth();
        string? path = cpu is null ? null : FindLibrary();
        if (parse.GetValue(CommonOptions.Json))
        {
            JsonOutput.Write(terminal.Out, json => WriteJson(json, cpu, gigaflops, bandwidth, path));
            return ExitCode.Success;
        }

        Grid grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(2)).AddColumn();
        Row("engine", EngineVersion);
        Row(".NET", RuntimeInformation.FrameworkDescription);
        Row("system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}");
        Row("processors", $"{Environment.ProcessorCount}");
        string library = $"{path ?? "loaded"} (ABI {CpuDevice.AbiVersion})";
        Row("native kernels", cpu is null ? $"not found: {CpuDevice.Defect}" : library);
        if (cpu is not null)
        {
            Row("instruction sets", $"{string.Join(", ", Names())}; in use: {Name(cpu.InstructionSet)}");
            Row("threads", $"{cpu.Threads}");
            Row("fp32 multiply-adds", string.Create(CultureInfo.InvariantCulture, $"{gigaflops:0} GFLOP/s"));
            Row("memory reads", string.Create(CultureInfo.InvariantCulture, $"{bandwidth:0.0} GB/s"));
        }

        Row("NVIDIA driver", CudaGpu.DriverDefect is { } missing ? $"not usable: {missing}" : $"{CudaGpu.All.Count} found");
        foreach (CudaGpu gpu in CudaGpu.All)
        {
            string memory = string.Create(CultureInfo.InvariantCulture, $"{gpu.MemoryBytes / (double)(1 << 30):0.0} GiB");
            Row($"cuda:{gpu.Index}", $"{gpu.Name}, {memory}, {gpu.Defect ?? $"architecture {gpu.Architecture}"}, CUDA {gpu.Driver}");
        }

        Row("cuBLASLt", CudaGpu.CublasLtDefect is { } absent ? $"not found, GPU products are the engine's own: {absent}" : "found");
        IEnumerable<string> usable = CudaGpu.All.Where(gpu => gpu.Defect is null).Select(gpu => $"cuda:{gpu.Index}, ");
        Row("devices", string.Concat(usable) + (cpu is null ? "reference" : $"{cpu.Name}, reference"));
        terminal.Results.Write(grid);
        if (cpu is null)
        {
            terminal.Error.WriteLine(
                "hint: build the engine with CMake and a C++20 compiler installed; until then everything is slow.");
        }

        return ExitCode.Success;

        void Row(string name, string value) => grid.AddRow(new Text(name), new Text(value));
    }

    private static string EngineVersion => typeof(Model).Assembly.GetName().Version!.ToString(3);

    private static void WriteJson(Utf8JsonWriter json, CpuDevice? cpu, double? gigaflops, double? bandwidth, string? path)
    {
        json.WriteString("engine", EngineVersion);
        json.WriteString("dotnet", RuntimeInformation.FrameworkDescription);
        json.WriteString("os", RuntimeInformation.OSDescription);
        json.WriteString("architecture", RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant());
        json.WriteNumber("processors", Environment.ProcessorCount);
        json.WriteStartObject("native_library");
        json.WriteBoolean("found", cpu is not null);
        json.WriteString("path", path);
        json.WriteNumber("abi", CpuDevice.AbiVersion);
        json.WriteString("defect", CpuDevice.Defect);
        json.WriteEndObject();
        json.WriteStartArray("devices");
        if (cpu is not null)
        {
            json.WriteStartObject();
            json.WriteString("name", "cpu");
            json.WriteNumber("threads", cpu.Threads);
            json.WriteString("instruction_set", Name(cpu.InstructionSet));
            json.WriteStartArray("instruction_sets");
            foreach (string name in Names())
            {
                json.WriteStringValue(name);
            }

            json.WriteEndArray();
            json.WriteNumber("fp32_gflops", Math.Round(gigaflops!.Value, 1));
            json.WriteNumber("read_gigabytes_per_second", Math.Round(bandwidth!.Value, 2));
            json.WriteEndObject();
        }

        foreach (CudaGpu gpu in CudaGpu.All)
        {
            json.WriteStartObject();
            json.WriteString("name", $"cuda:{gpu.Index}");
            json.WriteString("gpu", gpu.Name);
            json.WriteString("architecture", gpu.Architecture.ToString());
            json.WriteNumber("memory_bytes", gpu.MemoryBytes);
            json.WriteString("driver", gpu.Driver.ToString());
            json.WriteString("defect", gpu.Defect);
            json.WriteEndObject();
        }

        json.WriteStartObject();
        json.WriteString("name", "reference");
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteStartObject("cuda_driver");
        json.WriteBoolean("found", CudaGpu.DriverDefect is null);
        json.WriteString("defect", CudaGpu.DriverDefect);
        json.WriteEndObject();
        json.WriteStartObject("cublaslt");
        json.WriteBoolean("found", CudaGpu.CublasLtDefect is null);
        json.WriteString("defect", CudaGpu.CublasLtDefect);
        json.WriteEndObject();
    }

    private static IEnumerable<string> Names() => CpuDevice.InstructionSets.Select(Name);

    private static string Name(Kernels.InstructionSet set) => set.ToString().ToLowerInvariant();

    private static string? FindLibrary()
    {
        using var process = Process.GetCurrentProcess();
        return process.Modules.Cast<ProcessModule>()
            .FirstOrDefault(module => module.ModuleName.Contains(Library, StringComparison.Ordinal))?.FileName;
    }
}
