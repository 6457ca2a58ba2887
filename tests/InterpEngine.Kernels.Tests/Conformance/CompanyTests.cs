namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>A row's bits do not depend on the rows beside it, on where it lies, or on how a sequence was cut.</summary>
public sealed class CompanyTests
{
    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Products(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 1);
        foreach ((int rows, int inner, int columns) in ((int, int, int)[])[(17, 65, 97), (29, 33, 31), (64, 16, 128)])
        {
            Weight weight = run.Weight(run.Values(inner * columns), inner, columns);
            Tensor bias = run.Tensor(run.Values(columns), columns);
            Activation[] activations = Enum.GetValues<Activation>();
            foreach (Activation activation in activations)
            {
                RowsAlone(run, rows, inner, columns, (x, output) =>
                    run.Device.Run(new MatMul { X = x, W = weight, Bias = bias, Activation = activation, Out = output }));
            }

            RowsAlone(run, rows, columns, inner, (x, output) =>
                run.Device.Run(new MatMulTransposed { X = x, W = weight, Out = output }));
        }

        foreach (ElementType type in (ElementType[])[ElementType.BF16, ElementType.I8])
        {
            foreach ((int rows, int inner, int columns) in ((int, int, int)[])[(17, 65, 97), (40, 600, 31), (70, 33, 128)])
            {
                Weight weight = run.Weight(run.Values(inner * columns), inner, columns, type);
                RowsAlone(run, rows, inner, columns, (x, output) => run.Device.Run(new MatMul { X = x, W = weight, Out = output }));
            }
        }
    }

    /// <summary>Products that share X give the bits of each alone, and a rotation in a product those of the op.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Products_together(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 6);
        (int Rows, int Inner, int Size, int Heads)[] shapes = [(1, 33, 64, 3), (5, 20, 17, 4), (20, 70, 16, 5), (150, 64, 80, 2), (300, 16, 24, 9)];

        // The last two are for several threads and blocks of a CPU; the simulator needs minutes for them.
        foreach ((int rows, int inner, int size, int heads) in shapes[..(device == Devices.Simulated ? 3 : 5)])
        {
            foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16, ElementType.I8])
            {
                foreach (RotaryPairs pairs in (RotaryPairs[])[RotaryPairs.Halves, RotaryPairs.Interleaved])
                {
                    Together(run, rows, inner, size, heads, type, pairs);
                }
            }
        }
    }

    /// <summary>Groups of rows with a weight each have the bits of a product for each.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Products_of_groups(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 7);
        foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16, ElementType.I8])
        {
            Groups(run, type, 33, 20, [0, 3, 3, 20, 21, 21]);
        }
    }

    /// <summary>Judges products of groups.</summary>
    internal static void Groups(OpRun run, ElementType type, int inner, int columns, int[] starts)
    {
        int groups = starts.Length - 1, rows = starts[^1];
        Matrix x = run.Matrix(run.Values(rows * inner), rows, inner, Layout.Odd), multiply = run.Matrix(run.Values(rows * columns), rows, columns, Layout.Odd);
        Weight[] weights = [.. Enumerable.Range(0, groups).Select(_ => run.Weight(run.Values(inner * columns), inner, columns, type))];
        Tensor[] biases = [.. Enumerable.Range(0, groups).Select(_ => run.Tensor(run.Values(columns), columns))];
        using Tensor together = run.Device.Allocate(ElementType.F32, rows, columns), apart = run.Device.Allocate(ElementType.F32, rows, columns);
        int few = Math.Min(rows, 4); // a step of a generation has no more, and the simulator needs seconds for each
        int[] choice = [.. Enumerable.Range(0, few).Select(row => (row * 5 + 3) % groups)];
        Matrix First(Matrix all) => all with { Rows = few };
        foreach (bool plain in (bool[])[true, false])
        {
            using WeightGroup group = run.Device.Group(weights, plain ? null : biases);
            var op = new GroupedMatMul
            {
                X = x,
                W = group,
                Starts = starts,
                Activation = plain ? Activation.None : Activation.Silu,
                Multiply = plain ? default(Matrix?) : multiply,
                Out = together,
            };
            run.Device.Run(op);
            for (int g = 0; g < groups; g++)
            {
                if (starts[g + 1] > starts[g])
                {
                    run.Device.Run((op with { Out = apart }).Of(g));
                }
            }

            Assert.Equal(apart.ToArray<float>(), together.ToArray<float>());
            GroupedMatMul chosen = op with
            {
                X = First(x),
                Starts = default,
                Choice = run.Tensor(choice, few),
                Multiply = plain ? default(Matrix?) : First(multiply),
                Out = First(together),
            };
            run.Device.Run(chosen);
            for (int row = 0; row < few; row++)
            {
                run.Device.Run((chosen with { Out = First(apart) }).Of(choice[row], row, row + 1));
            }

            Assert.Equal(apart.ToArray<float>(), together.ToArray<float>());
            Assert.Throws<ArgumentException>(() => run.Device.Run(op with { Starts = starts.AsMemory(1) }));
        }

        Assert.Throws<ArgumentException>(() => run.Device.Group([]));
        Assert.Throws<ArgumentException>(() => run.Device.Group(weights, biases[1..]));
    }

    /// <summary>A cache that goes on where the device alone knows: the same bits as with a number that the host gives.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Steps_of_a_cache(string device)
    {
        const int batch = 2, heads = 4, groups = 2, size = 16, capacity = 70;
        using var run = new OpRun(Devices.All[device].Value, 8);
        Device on = run.Device;
        float[] cached = run.Values(batch * capacity * groups * size);
        foreach (int past in (int[])[0, 5, 68, 69])
        {
            Tensor keys = run.Tensor(cached, batch, capacity, groups, size), counted = run.Tensor(cached, batch, capacity, groups, size);
            Tensor values = run.Tensor(cached, batch, capacity, groups, size);
            Tensor own = run.Tensor(run.Values(batch * groups * size), batch, 1, groups, size);
            Tensor q = run.Tensor(run.Values(batch * heads * size), batch, 1, heads, size);
            int token = groups * size;
            on.Run(new Copy
            {
                From = new Matrix(own, 0, batch, token, token),
                To = new Matrix(keys, (long)past * token, batch, token, (long)capacity * token),
            });
            on.Run(new Append { Keys = own, Values = own, KeyCache = counted, ValueCache = values, At = run.Tensor([past], 1) });
            Assert.Equal(keys.ToArray<float>(), counted.ToArray<float>());
            Assert.Equal(keys.ToArray<float>(), values.ToArray<float>());

            Tensor spans = run.Tensor([0, past + 1, past / 2, past + 1], batch, 2);
            using Tensor z = on.Allocate(ElementType.F32, batch, 1, heads, size), zCounted = on.Allocate(ElementType.F32, batch, 1, heads, size);
            var op = new Attention { Q = q, K = keys, V = keys, Keys = past + 1, Spans = spans, Scale = 0.3f };
            on.Run(op with { Z = z });
            on.Run(op with { K = counted, V = values, Keys = capacity, KeyCount = run.Tensor([past + 1], 1), Z = zCounted });
            Assert.Equal(z.ToArray<float>(), zCounted.ToArray<float>());
        }
    }

    /// <summary>Reported at the latest when something is read.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_full_cache(string device)
    {
        using Device on = Devices.OpenAnew(device);
        using Tensor from = on.Upload<float>([1, 2, 3, 4], 1, 2, 2), to = on.Upload<float>(new float[10], 1, 5, 2), at = on.Upload<int>([4], 1);
        Assert.Throws<ArgumentException>(() =>
        {
            on.Run(new Append { Keys = from, Values = from, KeyCache = to, ValueCache = to, At = at });
            to.ToArray<float>();
        });
        Assert.DoesNotContain(3, to.ToArray<float>());
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_choice_of_no_weight(string device)
    {
        using Device on = Devices.OpenAnew(device);
        foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16, ElementType.I8])
        {
            using Weight one = on.CreateWeight(4, 3, type), two = on.CreateWeight(4, 3, type);
            using WeightGroup group = on.Group([one, two]);
            using Tensor x = on.Upload<float>(new float[8], 2, 4), output = on.Allocate(ElementType.F32, 2, 3);
            foreach (int none in (int[])[-1, 2])
            {
                using Tensor choice = on.Upload<int>([1, none], 2);
                Assert.Throws<ArgumentException>(() =>
                {
                    on.Run(new GroupedMatMul { X = x, W = group, Choice = choice, Out = output });
                    output.ToArray<float>();
                });
            }
        }
    }

    private static void Together(OpRun run, int rows, int inner, int size, int heads, ElementType type, RotaryPairs pairs)
    {
        int start = size % 3, half = (size - start) / 4, columns = heads * size;
        Device on = run.Device;
        Matrix x = run.Matrix(run.Values(rows * inner), rows, inner, Layout.Odd);
        Tensor bias = run.Tensor(run.Values(columns), columns), gate = on.Allocate(ElementType.F32, rows, columns);
        int[] positions = [.. run.Integers(rows, 10).Select((position, i) => i % 7 == 1 ? -1 : position)];
        var rotation = new HeadRotation(
            run.Tensor(positions, rows), run.Tensor(run.Values(10 * half), 10, half), run.Tensor(run.Values(10 * half), 10, half), pairs, start);
        Weight[] weights = [.. Enumerable.Range(0, 3).Select(_ => run.Weight(run.Values(inner * columns), inner, columns, type))];
        using Tensor rotated = on.Allocate(ElementType.F32, rows, heads, size), pre = on.Allocate(ElementType.F32, rows, columns);
        using Tensor gated = on.Allocate(ElementType.F32, rows, columns), alone = on.Allocate(ElementType.F32, rows, heads, size);
        on.Run(
            new MatMul { X = x, W = weights[0], Bias = bias, Pre = Matrix.From(pre), Rotation = rotation, Out = new Matrix(rotated, 0, rows, columns, columns) },
            new MatMul { X = x, W = weights[1], Bias = bias, Out = gate },
            new MatMul { X = x, W = weights[2], Activation = Activation.Silu, Multiply = Matrix.From(gate), Out = gated });

        on.Run(new MatMul { X = x, W = weights[0], Bias = bias, Out = new Matrix(alone, 0, rows, columns, columns) });
        Assert.Equal(alone.ToArray<float>(), pre.ToArray<float>());
        on.Run(rotation.Of(alone));
        Assert.Equal(alone.ToArray<float>(), rotated.ToArray<float>());
        on.Run(new MatMul { X = x, W = weights[1], Bias = bias, Out = gate });
        on.Run(new MatMul { X = x, W = weights[2], Activation = Activation.Silu, Multiply = Matrix.From(gate), Out = new Matrix(alone, 0, rows, columns, columns) });
        Assert.Equal(alone.ToArray<float>(), gated.ToArray<float>());
        gate.Dispose();
        weights.ToList().ForEach(weight => weight.Dispose());
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Rows(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 2);
        foreach (int width in (int[])[1, 15, 33, 65, 300])
        {
            Tensor gain = run.Tensor(run.Values(width), width);
            foreach (NormKind kind in Enum.GetValues<NormKind>())
            {
                RowsAlone(run, 9, width, width, (x, output) =>
                    run.Device.Run(new Norm { Kind = kind, X = x, Epsilon = 1e-6f, Gain = gain, Bias = gain, Out = output }));
            }

            RowsAlone(run, 9, width, width, (x, output) => run.Device.Run(new LogSoftmax { X = x, Out = output }));
        }
    }

    /// <summary>A row is routed alike alone, and its experts' outputs add up alike wherever they lie.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Routed_rows(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 5);
        foreach (RouterScore score in Enum.GetValues<RouterScore>())
        {
            RowsAlone(run, 23, 17, 4, (x, output) =>
            {
                using Tensor indices = run.Device.Allocate(ElementType.I32, x.Rows, 4);
                run.Device.Run(new Route { Logits = x, Score = score, Renormalize = true, Indices = indices, Weights = output.Tensor });
            });
        }

        Tensor three = run.Tensor(run.Values(3 * 33), 3, 33), weights = run.Tensor(run.Values(3), 1, 3);
        float[] first = Output(run, 1, 33, three, (x, output) => run.Device.Run(
            new CombineRows { X = x, Indices = run.Tensor([0, 1, 2], 1, 3), Weights = weights, Out = output }));
        using Tensor moved = run.Device.Allocate(ElementType.F32, 50, 33);
        run.Device.Run(new GatherRows { From = three, Indices = run.Tensor([.. Enumerable.Range(0, 50).Select(i => i % 4 - 1)], 50), Out = moved });
        Assert.Equal(first, Output(run, 1, 33, moved, (x, output) => run.Device.Run(
            new CombineRows { X = x, Indices = run.Tensor([41, 10, 7], 1, 3), Weights = weights, Out = output })));
    }

    /// <summary>Each element alone, in the vector's body or in its tail.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Elements(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 3);
        foreach (Activation activation in Enum.GetValues<Activation>())
        {
            float[] x = run.Values(53).Select(v => v * 9).ToArray();
            void Activate(Matrix from, Matrix to) => run.Device.Run(new Activate { X = from, Activation = activation, Out = to });
            float[] together = Output(run, 1, 53, run.Tensor(x, 1, 53), Activate);
            float[] alone = Output(run, 53, 1, run.Tensor(x, 53, 1), Activate);
            Assert.Equal(together, alone);
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Sequences(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 4);
        Sequence[] sequences = [.. from length in (int[])[37, 13, 22, 1] select Sequence.Random(run, length)];
        foreach (int window in (int[])[0, 6, 17])
        {
            float[][] batch = Attend(run, sequences, keys: 43, queries: 43, capacity: 64, window);
            for (int i = 0; i < sequences.Length; i++)
            {
                Sequence one = sequences[i];
                Assert.Equal(batch[i], Attend(run, [one], one.Length, one.Length, one.Length, window)[0]);
                IEnumerable<int> lengths = Enumerable.Range(1, one.Length);
                Assert.Equal(batch[i], lengths.SelectMany(n => Attend(run, [one.Take(n)], n, 1, 40, window)[0]));
                int half = one.Length / 2;
                float[] first = Attend(run, [one.Take(half)], half, half, 40, window)[0];
                float[] second = Attend(run, [one], one.Length, one.Length - half, 40, window)[0];
                Assert.Equal(batch[i], first.Concat(second));
            }
        }
    }

    /// <summary>A text that is longer than the pieces in which a GPU's groups share it.</summary>
    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Long_sequences(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 9);
        Sequence one = Sequence.Random(run, 530), other = Sequence.Random(run, 300);
        const int token = Sequence.Heads * Sequence.Size;
        foreach (int window in (int[])[0, 270])
        {
            float[] whole = Attend(run, [one], 530, queries: 25, 530, window)[0];
            float[][] batch = Attend(run, [other, one], 537, queries: 25, 540, window);
            Assert.Equal(whole, batch[1]);
            Assert.Equal(batch[0], Attend(run, [other], 300, queries: 25, 300, window)[0]);
            foreach (int n in (int[])[506, 512, 513, 530])
            {
                float[] step = Attend(run, [one.Take(n)], n, queries: 1, 600, window)[0];
                Assert.Equal(whole[((n - 506) * token)..((n - 505) * token)], step);
                Assert.Equal(step, Attend(run, [other, one.Take(n)], n, queries: 1, 600, window, counted: true)[1]);
            }

            Assert.Equal(whole[(18 * token)..], Attend(run, [one], 530, queries: 7, 530, window)[0]);
        }
    }

    private static void RowsAlone(OpRun run, int rows, int columns, int outputs, Action<Matrix, Matrix> op)
    {
        Tensor x = run.Tensor(run.Values(rows * columns), rows, columns);
        float[] together = Output(run, rows, outputs, x, op);
        for (int row = 0; row < rows; row++)
        {
            float[] alone = Output(run, 1, outputs, new Matrix(x, row * columns, 1, columns, columns), op);
            Assert.Equal(together[(row * outputs)..((row + 1) * outputs)], alone);
        }
    }

    private static float[] Output(OpRun run, int rows, int columns, Matrix x, Action<Matrix, Matrix> op)
    {
        using Tensor output = run.Device.Allocate(ElementType.F32, rows, columns);
        op(x, output);
        return output.ToArray<float>();
    }

    /// <summary>Z of each sequence's last queries, the sequences ending together at <paramref name="keys"/>.</summary>
    private static float[][] Attend(
        OpRun run, Sequence[] sequences, int keys, int queries, int capacity, int window, bool counted = false)
    {
        int batch = sequences.Length;
        using Tensor q = Place(run, sequences, s => s.Q, queries, queries, Sequence.Heads);
        using Tensor k = Place(run, sequences, s => s.K, keys, capacity, 1);
        using Tensor v = Place(run, sequences, s => s.V, keys, capacity, 1);
        using Tensor spans = run.Device.Upload<int>([.. sequences.SelectMany(s => (int[])[keys - s.Length, keys])], batch, 2);
        using Tensor z = run.Device.Allocate(ElementType.F32, q.Shape);
        Tensor slopes = run.Tensor([0.5f, 0.03f], 2), sinks = run.Tensor([0.2f, -1], 2);
        var op = new Attention
        {
            Q = q,
            K = k,
            V = v,
            Keys = counted ? capacity : keys,
            KeyCount = counted ? run.Tensor([keys], 1) : null,
            Spans = spans,
            Scale = 0.3f,
            Window = window,
        };
        run.Device.Run(op with { SoftCap = 0.9f, Slopes = slopes, Sinks = sinks, Z = z });
        float[] all = z.ToArray<float>();
        int token = Sequence.Heads * Sequence.Size;
        return [.. sequences.Select((s, i) => all.AsSpan(
            (i * queries + queries - Math.Min(queries, s.Length)) * token, Math.Min(queries, s.Length) * token).ToArray())];
    }

    /// <summary>The last tokens of each sequence so that they end at <paramref name="end"/>; NaN elsewhere.</summary>
    private static Tensor Place(
        OpRun run, Sequence[] sequences, Func<Sequence, float[]> values, int end, int capacity, int heads)
    {
        int token = heads * Sequence.Size;
        float[] placed = [.. Enumerable.Repeat(float.NaN, sequences.Length * capacity * token)];
        for (int i = 0; i < sequences.Length; i++)
        {
            int count = Math.Min(end, sequences[i].Length);
            values(sequences[i]).AsSpan(^(count * token)..).CopyTo(placed.AsSpan((i * capacity + end - count) * token));
        }

        return run.Device.Upload<float>(placed, sequences.Length, capacity, heads, Sequence.Size);
    }

    private sealed record Sequence(int Length, float[] Q, float[] K, float[] V)
    {
        public const int Heads = 2;
        public const int Size = 24;

        public static Sequence Random(OpRun run, int length) =>
            new(length, run.Values(length * Heads * Size), run.Values(length * Size), run.Values(length * Size));

        public Sequence Take(int n) => new(n, Q[..(n * Heads * Size)], K[..(n * Size)], V[..(n * Size)]);
    }
}
