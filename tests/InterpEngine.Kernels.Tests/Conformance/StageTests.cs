namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>An op that an intervention splits into its stages gives the bits of the whole op if nothing was changed.</summary>
public sealed class StageTests
{
    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_norm(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 1);
        Device on = run.Device;
        foreach (NormKind kind in Enum.GetValues<NormKind>())
        {
            foreach (int width in (int[])[1, 16, 37, 200])
            {
                Matrix x = run.Matrix(run.Values(7 * width), 7, width, Layout.Odd);
                Tensor gain = run.Tensor(run.Values(width), width), bias = run.Tensor(run.Values(width), width);
                using Tensor whole = on.Allocate(ElementType.F32, 7, width), split = on.Allocate(ElementType.F32, 7, width);
                using Tensor scale = on.Allocate(ElementType.F32, 7), normalized = on.Allocate(ElementType.F32, 7, width);
                var op = new Norm { Kind = kind, X = x, Epsilon = 1e-5f };
                on.Run(op with { Gain = gain, Bias = bias, Out = whole });
                on.Run(op with { Scale = scale });
                on.Run(op with { GivenScale = scale, Normalized = normalized });
                on.Run(op with { GivenNormalized = normalized, Gain = gain, Bias = bias, Out = split });
                Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());
                on.Run(op with { Gain = gain, Bias = bias, Residual = Matrix.From(normalized), Out = split });
                on.Run(new Add { A = normalized, B = whole, Out = whole });
                Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());
            }
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_product_in_parts(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 4);
        Device on = run.Device;
        (int rows, int inner, int columns) = (device.StartsWith("cuda", StringComparison.Ordinal) ? 20_000 : 40, 64, 600);
        foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16])
        {
            Tensor bias = run.Tensor(run.Values(columns), columns);
            using Tensor whole = on.Allocate(ElementType.F32, rows, columns), parts = on.Allocate(ElementType.F32, rows, columns);
            using Tensor pre = on.Allocate(ElementType.F32, rows, columns);
            var op = new MatMul
            {
                X = run.Tensor(run.Values(rows * inner), rows, inner),
                W = run.Weight(run.Values(inner * columns), inner, columns, type),
                Bias = bias,
                Out = whole,
            };
            on.Run(op);
            on.Run(op with { Activation = Activation.Relu, Pre = pre, Out = parts });
            Assert.Equal(whole.ToArray<float>(), pre.ToArray<float>());
            foreach ((int first, int count) in ((int, int)[])[(0, 256), (256, 320), (576, 24)])
            {
                using Tensor own = bias.Slice(first, count);
                on.Run(op with { Bias = own, ColumnStart = first, Out = new Matrix(parts, first, rows, count, columns) });
            }

            Assert.Equal(whole.ToArray<float>(), parts.ToArray<float>());
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Attention(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 2);
        Device on = run.Device;
        foreach (int keys in (int[])[1, 16, 37, 70])
        {
            int queries = Math.Min(keys, 19);
            using Tensor whole = on.Allocate(ElementType.F32, 2, queries, 4, 9);
            using Tensor split = on.Allocate(ElementType.F32, whole.Shape);
            using Tensor scores = on.Allocate(ElementType.F32, 2, 4, queries, keys);
            using Tensor pattern = on.Allocate(ElementType.F32, scores.Shape);
            var op = new Attention
            {
                Q = run.Tensor(run.Values(2 * queries * 4 * 12), 2, queries, 4, 12),
                K = run.Tensor(run.Values(2 * keys * 2 * 12), 2, keys, 2, 12),
                V = run.Tensor(run.Values(2 * keys * 2 * 9), 2, keys, 2, 9),
                Keys = keys,
                Spans = run.Tensor([0, keys, keys / 3, keys], 2, 2),
                Scale = 0.7f,
                Window = 21,
                SoftCap = 3,
                Slopes = run.Tensor(run.Values(4), 4),
                Sinks = run.Tensor(run.Values(4), 4),
            };
            on.Run(op with { Z = whole });
            on.Run(op with { Scores = scores });
            on.Run(op with { GivenScores = scores, Pattern = pattern });
            on.Run(op with { GivenPattern = pattern, Z = split });
            Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());
            on.Run(op with { Scores = scores, Pattern = pattern, Z = split });
            Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_product(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 3);
        Device on = run.Device;
        foreach (Activation activation in Enum.GetValues<Activation>())
        {
            foreach ((int rows, int inner, int columns) in ((int, int, int)[])[(1, 33, 97), (9, 20, 31), (16, 64, 64)])
            {
                Tensor bias = run.Tensor(run.Values(columns), columns);
                Matrix multiply = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd);
                Matrix residual = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd);
                var shape = new Shape(rows, columns);
                using Tensor whole = on.Allocate(ElementType.F32, shape), split = on.Allocate(ElementType.F32, shape);
                using Tensor pre = on.Allocate(ElementType.F32, shape), delta = on.Allocate(ElementType.F32, shape);
                var product = new MatMul
                {
                    X = run.Matrix(run.Values(rows * inner), rows, inner, Layout.Odd),
                    W = run.Weight(run.Values(inner * columns), inner, columns),
                    Out = split,
                };
                MatMul fused = product with
                {
                    Bias = bias,
                    Activation = activation,
                    Multiply = multiply,
                    Scale = 1.3f,
                    SoftCap = 0.7f,
                    Residual = residual,
                    Out = whole,
                };
                on.Run(fused);
                on.Run(product);
                using Tensor oneHead = split.Reshape(rows, 1, columns);
                on.Run(new SumHeads { X = oneHead, Bias = bias, Out = split });
                on.Run(new Activate { X = split, Activation = activation, Multiply = multiply, Out = split });
                on.Run(new Map { X = split, Kind = MapKind.Scale, Parameter = 1.3f, Out = split });
                on.Run(new Map { X = split, Kind = MapKind.SoftCap, Parameter = 0.7f, Out = split });
                on.Run(new Add { A = residual, B = split, Out = split });
                Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());

                on.Run(fused with { Pre = pre, Delta = delta, Out = split });
                Assert.Equal(whole.ToArray<float>(), split.ToArray<float>());
                on.Run(new Activate { X = pre, Activation = activation, Multiply = multiply, Out = pre });
                on.Run(new Map { X = pre, Kind = MapKind.Scale, Parameter = 1.3f, Out = pre });
                on.Run(new Map { X = pre, Kind = MapKind.SoftCap, Parameter = 0.7f, Out = pre });
                Assert.Equal(delta.ToArray<float>(), pre.ToArray<float>());
            }
        }
    }
}
