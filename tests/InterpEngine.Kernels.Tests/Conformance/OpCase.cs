namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>One op with one set of inputs and options, to be judged on any device.</summary>
/// <param name="name">Op, shapes and options: <c>MatMul / 17x33x65 bias gelu</c>.</param>
/// <param name="body">Makes the inputs, runs the op and says what its outputs should be.</param>
/// <param name="ownSums">Whether each instruction set may have bits of its own.</param>
/// <param name="work">Multiply-adds, if many: the simulator is spared the largest cases.</param>
internal sealed class OpCase(string name, Action<OpRun> body, bool ownSums = false, long work = 0)
{
    private readonly Lock _lock = new();
    private IReadOnlyList<Output>? _reference;

    public string Name => name;

    public bool OwnSums => ownSums;

    public bool IsLarge => work > 1 << 19;

    /// <summary>Runs on a device.</summary>
    public IReadOnlyList<Output> Run(Device device)
    {
        using var run = new OpRun(device, Seed());
        body(run);
        return run.Collect();
    }

    /// <summary>Runs on a device and compares: the reference device with the formula, every other with the reference.</summary>
    public void Judge(Device device)
    {
        IReadOnlyList<Output> reference = OnReference();
        bool isReference = device is Reference.ReferenceDevice;
        IReadOnlyList<Output> outputs = isReference ? reference : Run(device);
        foreach ((Output output, Output expected) in outputs.Zip(reference))
        {
            for (int i = 0; i < output.Values.Length; i++)
            {
                Approx truth = expected.Truth.Value[i];
                float wanted = isReference ? (float)truth.Value : expected.Values[i];
                string? defect = Compare(output.Values[i], wanted, expected.Exact ? null : truth.Error);
                Assert.True(defect is null, $"{name}: {output.Name}, element {i} of {output.Values.Length}: {defect}");
            }
        }
    }

    private IReadOnlyList<Output> OnReference()
    {
        lock (_lock)
        {
            return _reference ??= Run(Devices.Reference);
        }
    }

    private static string? Compare(float value, float wanted, double? bound)
    {
        bool equal = bound is null || !float.IsFinite(wanted)
            ? value.Equals(wanted) && (bound is not null || float.IsNegative(value) == float.IsNegative(wanted))
            : Math.Abs((double)value - wanted) <= bound;
        return equal ? null : $"{value:R} is not {wanted:R} within {bound ?? 0:G3}.";
    }

    /// <summary>The same on every machine: FNV-1a over the name.</summary>
    private int Seed() => (int)name.Aggregate(2166136261u, (hash, c) => (hash ^ c) * 16777619u);
}
