using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Tests.Conformance.Cases;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>Every op on every device present, over the same cases. A new op is one more line in <see cref="Cases"/>.</summary>
public sealed class ConformanceTests
{
    private static readonly Dictionary<string, OpCase> Cases = new[]
    {
        MatMulCases.All(),
        NarrowWeightCases.All(),
        ElementwiseCases.All(),
        NormCases.All(),
        RotaryCases.All(),
        AttentionCases.All(),
        LogitsCases.All(),
        EmbedCases.All(),
        ExpertsCases.All(),
        SparseCases.All(),
    }.SelectMany(cases => cases).ToDictionary(c => c.Name);

    public static IEnumerable<TheoryDataRow<string, string>> CasesAndDevices() =>
        from name in Cases.Keys
        from device in Devices.All.Keys.Order()
        where !Cases[name].IsLarge || device != Devices.Simulated
        select new TheoryDataRow<string, string>(name, device) { TestDisplayName = $"{name} / {device}" };

    public static IEnumerable<TheoryDataRow<string>> CaseNames() =>
        Cases.Keys.Select(name => new TheoryDataRow<string>(name) { TestDisplayName = $"{name} / same bits on all cpus" });

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Holds(string name, string device) => Cases[name].Judge(Devices.All[device].Value);

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Has_the_same_bits_on_all_cpus(string name)
    {
        var seen = new Dictionary<InstructionSet, int[]>();
        foreach (Lazy<Device> cpu in Devices.Cpus.Values)
        {
            int[] bits = [.. Cases[name].Run(cpu.Value).SelectMany(output => output.Values).Select(Bits)];
            var sums = ((CpuDevice)cpu.Value).InstructionSet;
            InstructionSet like = Cases[name].OwnSums && sums > InstructionSet.Avx512 ? sums : InstructionSet.Scalar;
            int[] first = seen.TryAdd(like, bits) ? bits : seen[like];
            int same = first.AsSpan().CommonPrefixLength(bits);
            Assert.True(same == first.Length, $"{cpu.Value.Name}: element {same} of all outputs differs from the first cpu's.");
        }
    }

    [Fact]
    public void The_native_kernels_are_present() => Assert.NotEmpty(Devices.Cpus);

    /// <summary>A NaN's payload is the processor's own business.</summary>
    private static int Bits(float value) => BitConverter.SingleToInt32Bits(float.IsNaN(value) ? float.NaN : value);
}
