using CsCheck;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Kernels.Tests.Conformance;

namespace InterpEngine.Kernels.Tests.Cpu;

/// <summary>Random shapes, larger than one tile, block or task: the bits of every instruction set and number of threads.</summary>
public sealed class BitsTests
{
    private static readonly Device[] s_devices =
    [
        .. from set in CpuDevice.InstructionSets from threads in (int[])[1, 2, 4] select new CpuDevice(threads, set),
    ];

    [Fact]
    public void Products() => Gen.Select(Gen.Int[1, 60], Gen.Int[0, 600], Gen.Int[1, 150], Gen.Int[0, 40], Gen.Int[0, 40], Gen.Int[0, 8])
        .Sample(
            (rows, inner, columns, innerStart, columnStart, activation) => SameBits(device =>
            {
                using var run = new OpRun(device, rows + inner * 7 + columns * 11);
                Weight weight = run.Weight(
                    run.Values((inner + innerStart + 3) * (columns + columnStart + 5)), inner + innerStart + 3, columns + columnStart + 5);
                Matrix output = Empty(run, rows, columns), pre = Empty(run, rows, columns), delta = Empty(run, rows, columns);
                device.Run(new MatMul
                {
                    X = run.Matrix(run.Values(rows * inner), rows, inner, Layout.Odd),
                    W = weight,
                    InnerStart = innerStart,
                    ColumnStart = columnStart,
                    Bias = run.Tensor(run.Values(columns), columns),
                    Activation = (Activation)activation,
                    Multiply = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd),
                    Residual = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Dense),
                    Pre = pre,
                    Delta = delta,
                    Out = output,
                });
                return [.. output.Tensor.ToArray<float>(), .. pre.Tensor.ToArray<float>(), .. delta.Tensor.ToArray<float>()];
            }),
            iter: 25);

    /// <summary>An element is one chain of fused multiply-adds along K.</summary>
    [Fact]
    public void A_product_is_a_chain() => Gen.Select(Gen.Int[1, 40], Gen.Int[0, 700], Gen.Int[1, 70]).Sample(
        (rows, inner, columns) =>
        {
            foreach (Device device in s_devices)
            {
                using var run = new OpRun(device, rows * 5 + inner + columns);
                float[] x = run.Values(rows * inner), w = run.Values(inner * columns);
                Matrix output = Empty(run, rows, columns);
                device.Run(new MatMul { X = run.Tensor(x, rows, inner), W = run.Weight(w, inner, columns), Out = output });
                float[] values = output.Tensor.ToArray<float>();
                for (int i = 0; i < values.Length; i++)
                {
                    float sum = 0;
                    for (int k = 0; k < inner; k++)
                    {
                        sum = MathF.FusedMultiplyAdd(x[i / columns * inner + k], w[k * columns + i % columns], sum);
                    }

                    Assert.Equal(sum, values[i]);
                }
            }
        },
        iter: 10);

    /// <summary>Many rows go along K in parts, a few at once.</summary>
    [Fact]
    public void Long_products()
    {
        const int rows = 131, columns = 50, innerStart = 5;
        foreach ((ElementType type, int inner) in ((ElementType, int)[])[(ElementType.F32, 1101), (ElementType.BF16, 1700), (ElementType.I8, 3300)])
        {
            foreach (Device device in s_devices)
            {
                using var run = new OpRun(device, inner);
                Weight weight = run.Weight(run.Values((inner + innerStart) * columns), inner + innerStart, columns, type);
                Matrix x = run.Matrix(run.Values(rows * inner), rows, inner, Layout.Odd), all = Empty(run, rows, columns), one = Empty(run, 1, columns);
                device.Run(new MatMul { X = x, W = weight, InnerStart = innerStart, Out = all });
                foreach (int row in (int[])[0, 64, rows - 1])
                {
                    device.Run(new MatMul { X = x with { Offset = x.Offset + row * x.Stride, Rows = 1 }, W = weight, InnerStart = innerStart, Out = one });
                    Assert.Equal(all.Tensor.ToArray<float>()[(row * columns)..((row + 1) * columns)], one.Tensor.ToArray<float>());
                }
            }
        }
    }

    [Fact]
    public void Transposed_products() => Gen.Select(Gen.Int[1, 20], Gen.Int[1, 120], Gen.Int[1, 120]).Sample(
        (rows, inner, columns) => SameBits(device =>
        {
            using var run = new OpRun(device, rows + inner * 3 + columns * 5);
            Matrix x = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd), output = Empty(run, rows, inner);
            device.Run(new MatMulTransposed { X = x, W = run.Weight(run.Values(inner * columns), inner, columns), Out = output });
            return output.Tensor.ToArray<float>();
        }),
        iter: 25);

    /// <summary>Prefill, in several tasks, is token by token too.</summary>
    [Fact]
    public void Attention() => Gen.Select(Gen.Int[1, 170], Gen.Int[1, 3], Gen.Int[1, 3], Gen.Int[1, 40], Gen.Int[1, 70], Gen.Int[0, 50], Gen.Bool)
        .Sample(
            (queries, kvHeads, group, size, valueSize, window, causal) =>
            {
                float[] whole = SameBits(device => Attend(device, queries, kvHeads, group, size, valueSize, window, causal, false));
                float[] steps = SameBits(device => Attend(device, queries, kvHeads, group, size, valueSize, window, causal, causal));
                Assert.Equal(whole, steps);
            },
            iter: 12);

    [Fact]
    public void Rows() => Gen.Select(Gen.Int[1, 40], Gen.Int[1, 1500], Gen.Int[1, 40]).Sample(
        (rows, columns, k) => SameBits(device =>
        {
            using var run = new OpRun(device, rows * 3 + columns);
            Matrix x = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd);
            Matrix norm = Empty(run, rows, columns), logits = Empty(run, rows, columns), top = Empty(run, rows, Math.Min(k, columns));
            Tensor indices = run.Tensor(new int[rows * top.Columns], rows, top.Columns);
            device.Run(new Norm { Kind = NormKind.Layer, X = x, Epsilon = 1e-5f, Out = norm });
            device.Run(new LogSoftmax { X = x, Out = logits });
            device.Run(new TopK { X = x, Values = top.Tensor, Indices = indices });
            return
            [
                .. norm.Tensor.ToArray<float>(), .. logits.Tensor.ToArray<float>(), .. top.Tensor.ToArray<float>(),
                .. indices.ToArray<int>().Select(i => (float)i),
            ];
        }),
        iter: 20);

    /// <summary>Threads that share a device get what they would get alone.</summary>
    [Fact]
    public void Callers_may_share_a_device()
    {
        using var device = new CpuDevice(2);
        float[][] alone = [.. Enumerable.Range(0, 4).Select(i => Attend(device, 60 + i, 2, 2, 16, 16, 0, true, false))];
        Parallel.For(0, 16, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
            Assert.Equal(alone[i % 4], Attend(device, 60 + i % 4, 2, 2, 16, 16, 0, true, false)));
    }

    private static float[] Attend(
        Device device, int queries, int kvHeads, int group, int size, int valueSize, int window, bool causal, bool oneByOne)
    {
        using var run = new OpRun(device, queries + size * 3 + valueSize);
        int heads = kvHeads * group;
        float[] q = run.Values(queries * heads * size);
        var op = new Attention
        {
            Q = run.Tensor(q, 1, queries, heads, size),
            K = run.Tensor(run.Values(queries * kvHeads * size), 1, queries, kvHeads, size),
            V = run.Tensor(run.Values(queries * kvHeads * valueSize), 1, queries, kvHeads, valueSize),
            Spans = run.Tensor([queries / 5, queries], 1, 2),
            Keys = queries,
            Scale = 0.4f,
            Causal = causal,
            Window = window,
            SoftCap = size % 2,
            Slopes = size % 3 == 0 ? run.Tensor(run.Values(heads), heads) : null,
            Sinks = size % 5 == 0 ? run.Tensor(run.Values(heads), heads) : null,
        };
        Tensor z = run.Tensor(new float[queries * heads * valueSize], 1, queries, heads, valueSize);
        if (!oneByOne)
        {
            device.Run(op with { Z = z });
            return z.ToArray<float>();
        }

        Tensor one = run.Tensor(new float[heads * valueSize], 1, 1, heads, valueSize);
        return
        [
            .. Enumerable.Range(0, queries).SelectMany(i =>
            {
                Tensor token = run.Tensor(q[(i * heads * size)..((i + 1) * heads * size)], 1, 1, heads, size);
                device.Run(op with { Q = token, Keys = i + 1, Spans = run.Tensor([queries / 5, i + 1], 1, 2), Z = one });
                return one.ToArray<float>();
            }),
        ];
    }

    private static Matrix Empty(OpRun run, int rows, int columns) => run.Tensor(new float[rows * columns], rows, columns);

    /// <summary>What all devices give, which must be the same bits.</summary>
    private static float[] SameBits(Func<Device, float[]> compute)
    {
        float[] expected = compute(s_devices[0]);
        foreach (Device device in s_devices.AsSpan(1))
        {
            Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), compute(device).Select(BitConverter.SingleToInt32Bits));
        }

        return expected;
    }
}
