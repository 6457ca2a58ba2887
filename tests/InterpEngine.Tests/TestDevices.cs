using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Tests;

/// <summary>Every backend that this machine has; the same tests run on each.</summary>
internal static class TestDevices
{
    /// <summary>Names, as theory data.</summary>
    public static IEnumerable<string> Names => ["reference", .. CpuDevice.InstructionSets.Select(set => $"cpu-{set}")];

    /// <summary>Opens one by name.</summary>
    public static Device Open(string name, int threads = 2) => name == "reference"
        ? Device.Reference()
        : Device.Cpu(threads, Enum.Parse<InstructionSet>(name["cpu-".Length..]));
}
