using InterpEngine.Kernels.Gpu;
using InterpEngine.Kernels.Tests.Conformance;
using InterpEngine.Kernels.Tests.Conformance.Cases;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Products on tensor cores, their C# on the simulator with warps of 32.</summary>
public sealed class TensorProductTests(TensorCores device) : IClassFixture<TensorCores>
{
    private static readonly Dictionary<string, OpCase> s_cases = NarrowWeightCases.All()
        .Where(c => c.Name.StartsWith("MatMul / BF16 ", StringComparison.Ordinal)).ToDictionary(c => c.Name);

    public static IEnumerable<TheoryDataRow<string>> Cases() => s_cases.Keys
        .Where(name => !name.Contains("700", StringComparison.Ordinal)) // minutes on threads of the host
        .Select(name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Holds(string name) => s_cases[name].Judge(device.Gpu);

    [Theory]
    [InlineData(ElementType.BF16, 19, 600, 31)]
    [InlineData(ElementType.BF16, 70, 264, 17)]
    [InlineData(ElementType.F32, 18, 300, 33)]
    public void The_number_of_rows_moves_no_bit(ElementType type, int rows, int inner, int columns)
    {
        using var run = new OpRun(device.Gpu, 3);
        Weight weight = run.Weight(run.Values(inner * columns), inner, columns, type);
        Tensor x = run.Tensor(run.Values(rows * inner), rows, inner);
        float[] together = Product(run, x, weight, rows, columns);
        foreach (int count in (int[])[1, 3, 8, 16, rows - 1])
        {
            var last = new Matrix(x, (long)(rows - count) * inner, count, inner, inner);
            Assert.Equal(together[((rows - count) * columns)..], Product(run, last, weight, count, columns));
        }

        // Rows that lie on no boundary are read number by number.
        var odd = run.Matrix(x.ToArray<float>(), rows, inner, Layout.Odd);
        Assert.Equal(together, Product(run, odd, weight, rows, columns));
        Assert.Equal(together[..columns], Product(run, odd with { Rows = 1 }, weight, 1, columns));
    }

    [Theory]
    [InlineData(ElementType.BF16, 40, new[] { 0, 1, 1, 19, 36 })]
    [InlineData(ElementType.F32, 40, new[] { 0, 5, 22 })]
    [InlineData(ElementType.BF16, 40, new[] { 0, 130, 131 })]
    [InlineData(ElementType.BF16, 0, new[] { 0, 2, 3 })]
    public void Products_of_groups_have_the_bits_of_each(ElementType type, int inner, int[] starts)
    {
        using var run = new OpRun(device.Gpu, 9);
        CompanyTests.Groups(run, type, inner, 9, starts);
    }

    [Fact]
    public void What_follows_the_sum_moves_no_bit()
    {
        const int rows = 20, inner = 40, columns = 9;
        using var run = new OpRun(device.Gpu, 4);
        Weight weight = run.Weight(run.Values(inner * columns), inner, columns, ElementType.BF16);
        Tensor x = run.Tensor(run.Values(rows * inner), rows, inner), bias = run.Tensor(run.Values(columns), columns);
        using Tensor output = run.Device.Allocate(ElementType.F32, rows, columns);
        var op = new MatMul { X = x, W = weight, Bias = bias, Activation = Activation.GeluTanh, Out = output };
        run.Device.Run(op);
        using Tensor pre = run.Device.Allocate(ElementType.F32, rows, columns);
        using Tensor delta = run.Device.Allocate(ElementType.F32, rows, columns);
        using Tensor observed = run.Device.Allocate(ElementType.F32, rows, columns);
        run.Device.Run(op with { Pre = pre, Delta = delta, Out = observed });
        Assert.Equal(output.ToArray<float>(), observed.ToArray<float>());
        Assert.Equal(observed.ToArray<float>(), delta.ToArray<float>());
    }

    [Theory]
    [InlineData(1, 33, 20)]
    [InlineData(21, 130, 140)]
    public void Tf32_rounds_both_operands(int rows, int inner, int columns)
    {
        using var run = new OpRun(device.Gpu, 5);
        float[] x = run.Values(rows * inner), w = run.Values(inner * columns);
        float[] output = Product(run, run.Tensor(x, rows, inner), run.Weight(w, inner, columns), rows, columns);
        for (int i = 0; i < output.Length; i++)
        {
            (int r, int n) = (i / columns, i % columns);
            double truth = 0, magnitude = 0;
            for (int k = 0; k < inner; k++)
            {
                double product = Tf32(x[r * inner + k]) * Tf32(w[k * columns + n]);
                truth += product;
                magnitude += Math.Abs(product);
            }

            Assert.Equal(truth, output[i], magnitude * (inner + 8) * Math.ScaleB(1, -24));
        }
    }

    private static double Tf32(float value)
    {
        double unit = value == 0 ? 1 : Math.ScaleB(1, Math.ILogB(value) - 10);
        return Math.Round(value / unit, MidpointRounding.AwayFromZero) * unit;
    }

    private static float[] Product(OpRun run, Matrix x, Weight weight, int rows, int columns)
    {
        using Tensor output = run.Device.Allocate(ElementType.F32, rows, columns);
        run.Device.Run(new MatMul { X = x, W = weight, Out = output });
        return output.ToArray<float>();
    }
}

/// <summary>The simulator with warps of 32, or the GPU under test, asked for everything that tensor cores do.</summary>
public sealed class TensorCores : IDisposable
{
    public Device Gpu { get; } = Devices.OpenGpu(
        Devices.Named ?? Devices.Simulated,
        new CudaOptions { Products = ProductLibrary.Own, Tf32 = true, Bf16Attention = true },
        warps: 8,
        lanes: 32);

    public void Dispose() => Gpu.Dispose();
}
