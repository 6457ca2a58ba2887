using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Reference;

namespace InterpEngine.Kernels.Tests.Cpu;

/// <summary>The polynomials against double precision, over sweeps of all magnitudes, in units in the last place.</summary>
public sealed class ElementaryFunctionTests(ITestOutputHelper log)
{
    private static readonly Dictionary<string, (int Number, Func<double, double> Truth, double Ulps)> s_functions = new()
    {
        ["exp"] = (0, Math.Exp, 1),
        ["log"] = (1, Math.Log, 1),
        ["tanh"] = (2, Math.Tanh, 2.1),
        ["erf"] = (3, ReferenceDevice.Erf, 1.1),
        ["sigmoid"] = (4, x => 1 / (1 + Math.Exp(-x)), 2.5),
    };

    public static IEnumerable<TheoryDataRow<string, InstructionSet>> Functions() =>
        from name in s_functions.Keys
        from set in CpuDevice.InstructionSets
        select new TheoryDataRow<string, InstructionSet>(name, set);

    [Theory]
    [MemberData(nameof(Functions))]
    public void Is_accurate(string name, InstructionSet set)
    {
        (int number, Func<double, double> truth, double allowed) = s_functions[name];
        using var device = new CpuDevice(1, set);
        float[] x = [.. Sweep()], y = new float[x.Length];
        device.Evaluate(number, x, y);
        double worst = 0;
        float at = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double expected = truth(x[i]);
            if (!double.IsFinite((float)expected))
            {
                Assert.Equal((float)expected, y[i]);
                continue;
            }

            double error = Math.Abs(y[i] - expected) / Ulp((float)expected);
            (worst, at) = error > worst ? (error, x[i]) : (worst, at);
        }

        log.WriteLine($"{name} on {set}: at most {worst:F3} ulp, at {at:R}");
        Assert.True(worst <= allowed, $"{name}({at:R}) is off by {worst:F3} ulp.");
    }

    public static IEnumerable<TheoryDataRow<InstructionSet>> Sets() => CpuDevice.InstructionSets.Select(set => new TheoryDataRow<InstructionSet>(set));

    /// <summary>The exponential of log-probabilities: what is added to a 1 may be off by more ulps the smaller it is.</summary>
    [Theory]
    [MemberData(nameof(Sets))]
    public void The_exponential_beside_a_1_is_accurate_where_it_counts(InstructionSet set)
    {
        using var device = new CpuDevice(1, set);
        float[] x = [.. Sweep().Where(value => value <= 0)], y = new float[x.Length];
        device.Evaluate(5, x, y);
        for (int i = 0; i < x.Length; i++)
        {
            double expected = Math.Exp(Math.Max(-86, x[i])), allowed = x[i] >= -5 ? 1 : 4.5;
            Assert.True(Math.Abs(y[i] - expected) <= allowed * Ulp((float)expected), $"e^{x[i]:R} is {y[i]:R}");
        }
    }

    /// <summary>Every 9973rd float of both signs, the ends, and dense samples where the functions are busy.</summary>
    private static IEnumerable<float> Sweep()
    {
        for (uint bits = 0; bits <= 0x7f800000; bits += 9973)
        {
            yield return BitConverter.UInt32BitsToSingle(bits);
            yield return BitConverter.UInt32BitsToSingle(bits | 0x80000000);
        }

        for (int i = -60000; i <= 60000; i++)
        {
            yield return i * 1.7e-3f;
            yield return i * 7.3e-5f;
        }

        float[] ends = [float.PositiveInfinity, float.NegativeInfinity, float.NaN, float.MaxValue, float.Epsilon, 88.72283f, -103.97f];
        foreach (float end in ends)
        {
            yield return end;
        }
    }

    private static double Ulp(float value) => Math.Max(MathF.BitIncrement(Math.Abs(value)) - (double)Math.Abs(value), float.Epsilon);
}
