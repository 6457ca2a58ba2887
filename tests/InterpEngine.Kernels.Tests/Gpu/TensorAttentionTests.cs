using InterpEngine.Kernels.Gpu;
using InterpEngine.Kernels.Tests.Conformance;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Attention in BF16, its C# on the simulator with warps of 32, against the reference in double precision.</summary>
public sealed class TensorAttentionTests(TensorCores device) : IClassFixture<TensorCores>
{
    public sealed record Shape(
        int Batch, int Queries, int Keys, int Heads, int KvHeads, int Size, int ValueSize, int Window = 0, bool Causal = true, float Cap = 0,
        bool Slopes = false, bool Sinks = false, int Padding = 0)
    {
        public override string ToString() =>
            $"{Batch}x{Queries}of{Keys} heads {Heads}/{KvHeads} size {Size}/{ValueSize} window {Window} causal {Causal} cap {Cap} "
            + $"slopes {Slopes} sinks {Sinks} padding {Padding}";
    }

    public static readonly Shape[] All =
    [
        new(1, 1, 1, 1, 1, 32, 32),
        new(1, 1, 70, 4, 2, 64, 64),
        new(2, 20, 70, 4, 2, 64, 64, Padding: 5),
        new(1, 70, 70, 2, 2, 16, 16),
        new(1, 17, 17, 1, 1, 80, 80),
        new(1, 3, 66, 2, 1, 128, 128, Sinks: true),
        new(1, 5, 9, 1, 1, 256, 256),
        new(1, 4, 9, 1, 1, 96, 40),
        new(1, 9, 9, 1, 1, 33, 7),
        new(2, 30, 90, 2, 1, 32, 32, Window: 20, Padding: 9),
        new(1, 12, 30, 2, 2, 32, 32, Causal: false),
        new(1, 12, 30, 2, 2, 32, 32, Causal: false, Window: 4),
        new(2, 12, 70, 3, 3, 32, 32, Cap: 2, Slopes: true, Sinks: true, Padding: 3),
        new(1, 130, 150, 1, 1, 16, 16, Padding: 3), // more than one tile of rows, whole tiles of keys before the diagonal
        new(1, 130, 200, 1, 1, 16, 16, Window: 66),
        new(1, 10, 70, 2, 1, 128, 128, Cap: 3),
        new(2, 1, 1100, 2, 1, 32, 32, Padding: 9, Sinks: true), // several pieces of keys
        new(1, 2, 1100, 1, 1, 16, 16, Window: 90, Slopes: true),
    ];

    public static IEnumerable<TheoryDataRow<int>> Shapes() =>
        Enumerable.Range(0, All.Length).Select(i => new TheoryDataRow<int>(i) { TestDisplayName = $"{All[i]}" });

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Is_near_the_truth_and_the_same_when_observed(int index)
    {
        Shape shape = All[index];
        (float[] z, _, _, _) = Attend(device.Gpu, shape, observe: false);
        (float[] observed, float[] scores, float[] pattern, double bound) = Attend(device.Gpu, shape, observe: true);
        (float[] trueZ, float[] trueScores, float[] truePattern, _) = Attend(Devices.Reference, shape, observe: true);
        Assert.Equal(z, observed);
        for (int i = 0; i < scores.Length; i++)
        {
            Assert.Equal(float.IsNegativeInfinity(trueScores[i]), float.IsNegativeInfinity(scores[i]));
            if (float.IsFinite(trueScores[i]))
            {
                Assert.Equal(trueScores[i], scores[i], bound);
            }

            Assert.Equal(truePattern[i], pattern[i], truePattern[i] * (Math.Exp(2 * bound) - 1) + 1e-6);
        }

        // |v| ≤ 1: the weights' error, their rounding and that of the values.
        double zBound = Math.Exp(2 * bound) - 1 + Math.ScaleB(1, -8) + 1e-6;
        for (int i = 0; i < z.Length; i++)
        {
            Assert.Equal(trueZ[i], z[i], zBound);
        }
    }

    [Fact]
    public void Company_and_place_move_no_bit()
    {
        const int heads = 2, size = 32, length = 70;
        using var run = new OpRun(device.Gpu, 6);
        float[] q = run.Values(length * heads * size), k = run.Values(length * size), v = run.Values(length * size);
        float[] alone = Z(q, k, v, 0, length, length);
        Assert.Equal(alone, Z(q, k, v, padding: 7, length, length)); // the sequence begins at another key
        foreach (int count in (int[])[1, 2, 5, 64, 69, 70])
        {
            float[] step = Z(q[((count - 1) * heads * size)..(count * heads * size)], k, v, 3, 1, count); // one token with a cache
            Assert.Equal(alone[((count - 1) * heads * size)..(count * heads * size)], step);
        }

        float[] Z(float[] queries, float[] keys, float[] values, int padding, int queryCount, int keyCount)
        {
            float[] rows = Before(queries, queryCount == keyCount ? padding : 0, heads * size);
            int all = keyCount + padding, asked = queryCount == keyCount ? all : queryCount;
            using Tensor output = run.Device.Allocate(ElementType.F32, 1, asked, heads, size);
            run.Device.Run(new Attention
            {
                Q = run.Tensor(rows, 1, asked, heads, size),
                K = run.Tensor(Before(keys[..(keyCount * size)], padding, size), 1, all, 1, size),
                V = run.Tensor(Before(values[..(keyCount * size)], padding, size), 1, all, 1, size),
                Keys = all,
                Spans = run.Tensor([padding, all], 1, 2),
                Scale = 0.2f,
                Slopes = run.Tensor([0.1f, 0.01f], heads),
                Z = output,
            });
            return output.ToArray<float>()[^(queryCount * heads * size)..];
        }

        static float[] Before(float[] values, int padding, int width) =>
            [.. Enumerable.Repeat(float.NaN, padding * width), .. values];
    }

    /// <summary>A text longer than the pieces in which groups share it: in tiles of rows, and token by token with a cache.</summary>
    [Fact]
    public void Pieces_of_keys_move_no_bit()
    {
        const int heads = 2, size = 16, length = 1040, last = 34, padding = 5, capacity = 2100, row = heads * size;
        using var run = new OpRun(device.Gpu, 10);
        float[] q = run.Values(last * row), k = run.Values(length * size), v = run.Values(length * size);
        foreach (int window in (int[])[0, 40])
        {
            float[] rows = Z(q, length, window, 0), padded = Z(q, length, window, padding);
            Assert.Equal(rows, padded);
            foreach (int n in (int[])[length - last + 1, 1024, 1025, length])
            {
                int at = (n - 1 - (length - last)) * row;
                Assert.Equal(rows[at..(at + row)], Z(q[at..(at + row)], n, window, padding));
            }
        }

        float[] Z(float[] queries, int keys, int window, int before)
        {
            int count = queries.Length / row, all = keys + before;
            using Tensor z = run.Device.Allocate(ElementType.F32, 1, count, heads, size);
            run.Device.Run(new Attention
            {
                Q = run.Tensor(queries, 1, count, heads, size),
                K = run.Tensor(Placed(k), 1, capacity, 1, size),
                V = run.Tensor(Placed(v), 1, capacity, 1, size),
                Keys = count == 1 ? capacity : all,
                KeyCount = count == 1 ? run.Tensor([all], 1) : null,
                Spans = run.Tensor([before, all], 1, 2),
                Scale = 0.2f,
                Window = window,
                Sinks = run.Tensor([0.1f, -1], heads),
                Z = z,
            });
            return z.ToArray<float>();

            float[] Placed(float[] values) =>
            [
                .. Enumerable.Repeat(float.NaN, before * size), .. values[..(keys * size)],
                .. Enumerable.Repeat(float.NaN, (capacity - all) * size),
            ];
        }
    }

    /// <summary>A GeForce has less shared memory than an H100: heads of 128 have one tile there at a time, and larger ones continue in
    /// fp32.</summary>
    [Fact]
    public void Less_shared_memory_moves_no_bit()
    {
        Assert.SkipUnless(Devices.Named is null or Devices.Simulated, "a GPU has what it has");
        var options = new CudaOptions { Bf16Attention = true };
        using var small = new GpuDevice(SimulatedPlatform.Create(8, 32, 99 << 10), options);
        using var exact = new GpuDevice(SimulatedPlatform.Create(8, 32), options with { Bf16Attention = false });
        Shape medium = new(1, 20, 66, 1, 1, 128, 128), large = new(1, 5, 9, 1, 1, 256, 256);
        Assert.Equal(Attend(device.Gpu, medium, observe: false).Z, Attend(small, medium, observe: false).Z);
        Assert.Equal(Attend(exact, large, observe: false).Z, Attend(small, large, observe: false).Z);
        Assert.NotEqual(Attend(device.Gpu, large, observe: false).Z, Attend(small, large, observe: false).Z);
    }

    [Fact]
    public void Given_stages_continue_in_fp32()
    {
        using var run = new OpRun(device.Gpu, 7);
        Tensor q = run.Tensor(run.Values(2 * 16), 1, 2, 1, 16), v = run.Tensor(run.Values(2 * 16), 1, 2, 1, 16);
        using Tensor z = run.Device.Allocate(ElementType.F32, 1, 2, 1, 16);
        var op = new Attention { Q = q, K = v, V = v, Keys = 2, Spans = run.Tensor([0, 2], 1, 2), Scale = 1, Z = z };
        run.Device.Run(op with { GivenPattern = run.Tensor([1f, 0, 0, 1], 1, 1, 2, 2) });
        Assert.Equal(v.ToArray<float>(), z.ToArray<float>());
    }

    private static (float[] Z, float[] Scores, float[] Pattern, double Bound) Attend(Device on, Shape shape, bool observe)
    {
        using var run = new OpRun(on, 8);
        (int batch, int queries, int keys, int heads) = (shape.Batch, shape.Queries, shape.Keys, shape.Heads);
        float[] q = run.Values(batch * queries * heads * shape.Size), k = run.Values(batch * keys * shape.KvHeads * shape.Size);
        float[] v = run.Values(batch * keys * shape.KvHeads * shape.ValueSize);
        float[] slopes = run.Values(heads), sinks = run.Values(heads);
        float scale = 1 / MathF.Sqrt(shape.Size);
        using Tensor z = on.Allocate(ElementType.F32, batch, queries, heads, shape.ValueSize);
        using Tensor scores = on.Allocate(ElementType.F32, batch, heads, queries, keys);
        using Tensor pattern = on.Allocate(ElementType.F32, batch, heads, queries, keys);
        on.Run(new Attention
        {
            Q = run.Tensor(q, batch, queries, heads, shape.Size),
            K = run.Tensor(k, batch, keys, shape.KvHeads, shape.Size),
            V = run.Tensor(v, batch, keys, shape.KvHeads, shape.ValueSize),
            Keys = keys,
            Spans = run.Tensor([.. Enumerable.Range(0, batch).SelectMany(b => (int[])[b * shape.Padding, keys])], batch, 2),
            Scale = scale,
            Causal = shape.Causal,
            Window = shape.Window,
            SoftCap = shape.Cap,
            Slopes = shape.Slopes ? run.Tensor(slopes, heads) : null,
            Sinks = shape.Sinks ? run.Tensor(sinks, heads) : null,
            Scores = observe ? scores : null,
            Pattern = observe ? pattern : null,
            Z = z,
        });

        // Two roundings of 2⁻⁹ a term; the sums of |q·k| are below the largest row's and column's norms.
        double largest = Norm(q, shape.Size) * Norm(k, shape.Size), bound = scale * largest * Math.ScaleB(1, -8) * 1.01 + 1e-6 * keys;
        float[] seen = observe ? scores.ToArray<float>() : [], weights = observe ? pattern.ToArray<float>() : [];
        return (z.ToArray<float>(), seen, weights, bound);
    }

    private static double Norm(float[] values, int size) =>
        values.Chunk(size).Max(row => Math.Sqrt(row.Sum(value => (double)value * value)));
}
