using InterpEngine.Kernels.Reference;
using InterpEngine.Kernels.Tests.Conformance.Cases;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>Values that ops keep in BF16 are those that they would keep in F32, rounded once; and what reads them sees just these.</summary>
public sealed class NarrowTests
{
    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Copies_round_and_widen(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 21);
        foreach ((int rows, int columns) in ((int, int)[])[(1, 1), (3, 8), (5, 13), (2, 1030)])
        {
            float[] x = run.Values(rows * columns).With(-0f, float.PositiveInfinity, 3.4e38f, 1e-40f);
            using Tensor narrow = Narrow(run, rows, columns), again = Narrow(run, rows, columns);
            using Tensor wide = run.Device.Allocate(ElementType.F32, rows, columns);
            run.Device.Run(new Copy { From = run.Matrix(x, rows, columns, Layout.Odd), To = narrow });
            run.Device.Run(new Copy { From = narrow, To = again });
            run.Device.Run(new Copy { From = again, To = wide });
            Assert.Equal(Rounded(x), wide.ToArray<float>());
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Norms_and_activations_round_last(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 22);
        foreach ((int rows, int columns) in ((int, int)[])[(1, 4), (3, 33), (2, 64), (2, 1500)])
        {
            Tensor x = run.Tensor(run.Values(rows * columns), rows, columns), gain = run.Tensor(run.Values(columns), columns);
            foreach (NormKind kind in Enum.GetValues<NormKind>())
            {
                SameButRounded(run, rows, columns, output => run.Device.Run(
                    new Norm { Kind = kind, X = x, Epsilon = 1e-5f, Gain = gain, Bias = gain, Residual = x, Out = output }));
            }

            SameButRounded(run, rows, columns, output => run.Device.Run(
                new Activate { X = x, Activation = Activation.GeluTanh, Multiply = x, Out = output }));
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Products_read_and_write_them(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 23);
        foreach ((int rows, int inner, int columns) in ((int, int, int)[])[(1, 16, 9), (3, 33, 24), (20, 40, 33), (9, 65, 8)])
        {
            foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16, ElementType.I8])
            {
                Weight weight = run.Weight(run.Values(inner * columns), inner, columns, type);
                float[] values = Rounded(run.Values(rows * inner));
                Tensor x = run.Tensor(values, rows, inner), bias = run.Tensor(run.Values(columns), columns);
                using Tensor narrowX = Narrow(run, rows, inner);
                run.Device.Run(new Copy { From = x, To = narrowX });
                var op = new MatMul { X = x, W = weight, Bias = bias, Activation = Activation.Silu, Out = bias };
                SameButRounded(run, rows, columns, output => run.Device.Run(op with { Out = output }));
                Assert.Equal(Product(run, op, rows, columns), Product(run, op with { X = narrowX }, rows, columns));

                // With others of the same X, of which one reads another's result.
                using Tensor first = run.Device.Allocate(ElementType.F32, rows, columns), second = Narrow(run, rows, columns);
                using Tensor widened = run.Device.Allocate(ElementType.F32, rows, columns);
                run.Device.Run(op with { X = narrowX, Out = first }, op with { X = narrowX, Multiply = first, Out = second });
                run.Device.Run(new Copy { From = second, To = widened });
                float[] expected = Product(run, op with { Multiply = first }, rows, columns);
                Assert.Equal(Rounded(expected), widened.ToArray<float>());
                Assert.Equal(Product(run, op, rows, columns), first.ToArray<float>());
            }
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Attention_rounds_z(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 24);
        Device on = run.Device;
        foreach (int size in (int[])[8, 7])
        {
            Tensor q = run.Tensor(run.Values(2 * 3 * 2 * size), 2, 3, 2, size), k = run.Tensor(run.Values(2 * 5 * size), 2, 5, 1, size);
            var op = new Attention { Q = q, K = k, V = k, Keys = 5, Spans = run.Tensor([0, 5, 1, 5], 2, 2), Scale = 1 };
            using Tensor wide = on.Allocate(ElementType.F32, 2, 3, 2, size), narrow = on.Allocate(ElementType.BF16, 2, 3, 2, size);
            using Tensor widened = on.Allocate(ElementType.F32, 2, 3, 2, size);
            on.Run(op with { Z = wide });
            on.Run(op with { Z = narrow });
            on.Run(new Copy { From = narrow, To = widened });
            Assert.Equal(Rounded(wide.ToArray<float>()), widened.ToArray<float>());
        }
    }

    /// <summary>Runs an op into F32 and into BF16.</summary>
    private static void SameButRounded(OpRun run, int rows, int columns, Action<Tensor> op)
    {
        using Tensor wide = run.Device.Allocate(ElementType.F32, rows, columns), narrow = Narrow(run, rows, columns);
        using Tensor widened = run.Device.Allocate(ElementType.F32, rows, columns);
        op(wide);
        op(narrow);
        run.Device.Run(new Copy { From = narrow, To = widened });
        Assert.Equal(Rounded(wide.ToArray<float>()), widened.ToArray<float>());
    }

    private static float[] Product(OpRun run, MatMul op, int rows, int columns)
    {
        using Tensor output = run.Device.Allocate(ElementType.F32, rows, columns);
        run.Device.Run(op with { Out = output });
        return output.ToArray<float>();
    }

    private static Tensor Narrow(OpRun run, int rows, int columns) => run.Device.Allocate(ElementType.BF16, rows, columns);

    private static float[] Rounded(float[] values) => [.. values.Select(LowPrecision.RoundToBFloat16)];
}
