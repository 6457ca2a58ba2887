namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class AttentionCases
{
    /// <summary>Where the real tokens of the sequences lie.</summary>
    private enum Padding
    {
        None,
        Left,
        Right,
        Both,
        Everything,
    }

    private enum Given
    {
        Nothing,
        Scores,
        Pattern,
    }

    private sealed record Setup(int Batch, int Queries, int Keys, int Heads, int Size)
    {
        public int Capacity { get; init; } = Keys;
        public int Groups { get; init; } = 1;
        public int ValueSize { get; init; } = Size;
        public bool Causal { get; init; } = true;
        public int Window { get; init; }
        public Padding Padding { get; init; }
        public Given Given { get; init; }
        public float Factor { get; init; } = 1;
        public float[] Special { get; init; } = [];
        public float[] SpecialValues { get; init; } = [];
        public float SoftCap { get; init; }
        public bool Slopes { get; init; }
        public bool Sinks { get; init; }

        public string Name
        {
            get
            {
                string sizes = $"{Batch}x{Queries}x{Heads}x{Size} keys {Keys}";
                return string.Concat(
                    "Attention / ",
                    sizes,
                    Capacity == Keys ? "" : $" of {Capacity}",
                    Groups == 1 ? "" : $" groups {Groups}",
                    ValueSize == Size ? "" : $" values {ValueSize}",
                    Causal ? "" : " bidirectional",
                    Window == 0 ? "" : $" window {Window}",
                    Padding == Padding.None ? "" : $" padding {Padding.ToString().ToLowerInvariant()}",
                    Given == Given.Nothing ? "" : $" given {Given.ToString().ToLowerInvariant()}",
                    Factor == 1 ? "" : $" times {Factor}",
                    SoftCap == 0 ? "" : $" cap {SoftCap}",
                    Slopes ? " slopes" : "",
                    Sinks ? " sinks" : "",
                    Special.Length == 0 ? "" : " nan inf",
                    SpecialValues.Length == 0 ? "" : " nan inf values");
            }
        }

        public (int First, int End) Span(int batch) => Padding switch
        {
            Padding.Left => (Math.Min(Keys, batch * 3 + 1), Keys),
            Padding.Right => (0, Math.Max(0, Keys - batch * 3 - 1)),
            Padding.Both => (Math.Min(Keys, 2 + batch), Math.Max(0, Keys - 1 - batch)),
            Padding.Everything => (0, 0),
            _ => (0, Keys),
        };

        public bool Sees(int batch, int query, int key)
        {
            (int first, int end) = Span(batch);
            int position = query + Keys - Queries;
            bool queryIsReal = position >= first && position < end;
            bool keyIsReal = key >= first && key < end;
            bool near = Window == 0 || Math.Abs(key - position) < Window;
            return queryIsReal && keyIsReal && near && (key <= position || !Causal);
        }
    }

    public static IEnumerable<OpCase> All()
    {
        float[] special = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        foreach ((int queries, int keys) in ((int, int)[])
        [
            (0, 0), (0, 5), (1, 1), (1, 2), (1, 15), (1, 16), (1, 17), (1, 33), (1, 65), (2, 2), (3, 7), (7, 7), (8, 15),
            (16, 16), (17, 17), (5, 31), (31, 31), (33, 33), (4, 64), (65, 65),
        ])
        {
            yield return Case(new(1, queries, keys, 2, 16) { Capacity = keys + 3 });
        }

        foreach (int size in (int[])[1, 2, 7, 8, 15, 17, 31, 32, 33, 64, 65, 80, 128])
        {
            yield return Case(new(2, 6, 9, 2, size));
        }

        foreach (Padding padding in Enum.GetValues<Padding>())
        {
            foreach (bool causal in (bool[])[true, false])
            {
                foreach (int window in (int[])[0, 1, 5, 16, 40])
                {
                    var prefill = new Setup(3, 19, 19, 2, 8) { Padding = padding, Causal = causal, Window = window };
                    yield return Case(prefill);
                    yield return Case(prefill with { Batch = 2, Queries = 3, Keys = 37, Heads = 4, Capacity = 48, Groups = 2 });
                }
            }
        }

        foreach (Given given in (Given[])[Given.Scores, Given.Pattern])
        {
            yield return Case(new(1, 1, 33, 3, 16) { Given = given });
            yield return Case(new(2, 17, 18, 2, 16) { Given = given, Padding = Padding.Both, ValueSize = 7 });
            yield return Case(new(2, 5, 20, 4, 16) { Given = given, Window = 3, Groups = 4 });
            yield return Case(new(2, 7, 9, 2, 4) { Given = given, Special = special });
        }

        var small = new Setup(3, 20, 37, 4, 8) { Groups = 2, Padding = Padding.Left };
        Setup[] options =
        [
            small with { SoftCap = 0.3f }, small with { SoftCap = 50 }, small with { Slopes = true }, small with { Sinks = true },
            small with { SoftCap = 2, Slopes = true, Sinks = true },
        ];
        foreach (Setup option in options)
        {
            yield return Case(option);
            yield return Case(option with { Causal = false, Padding = Padding.Both });
            yield return Case(option with { Window = 5, ValueSize = 24 });
            yield return Case(option with { Queries = 1, Special = special });
            yield return Case(option with { Queries = 3, Factor = 8, Given = Given.Scores });
        }

        yield return Case(new(2, 70, 70, 4, 32) { Padding = Padding.Left });
        yield return Case(new(1, 40, 40, 1, 16) { SpecialValues = special });
        yield return Case(new(2, 40, 40, 2, 16) { SpecialValues = special, Window = 9, Padding = Padding.Left });
        yield return Case(new(2, 40, 40, 2, 16) { SpecialValues = special, Padding = Padding.Right });
        yield return Case(new(2, 40, 40, 2, 16) { SpecialValues = special, Padding = Padding.Both, Causal = false });
        yield return Case(new(1, 150, 300, 4, 16) { Groups = 2, ValueSize = 40, SpecialValues = special, Padding = Padding.Left });
        yield return Case(new(1, 270, 270, 2, 8) { Window = 140, Padding = Padding.Both });
        yield return Case(new(1, 270, 270, 1, 8) { Window = 7, Causal = false, Sinks = true });
        yield return Case(new(2, 9, 20, 4, 48) { ValueSize = 32 });
        yield return Case(new(1, 70, 70, 2, 16) { Slopes = true, Sinks = true, Window = 33, Causal = false });
        yield return Case(new(1, 1, 900, 8, 64) { Groups = 4 });
        foreach (Setup option in (Setup[])
        [
            new(2, 1, 600, 4, 8) { Groups = 4, Padding = Padding.Left, Capacity = 610 },
            new(2, 1, 530, 5, 6) { Groups = 5, Sinks = true, Window = 300 },
            new(2, 3, 540, 2, 8) { Slopes = true, SoftCap = 2, ValueSize = 12, Padding = Padding.Both, Causal = false },
            new(1, 2, 300, 6, 7) { Groups = 3, ValueSize = 5, SpecialValues = special, Window = 40 },
            new(1, 1, 4200, 1, 4) { Sinks = true },
            new(1, 2, 290, 2, 8) { Given = Given.Scores, Special = special },
            new(1, 2, 290, 2, 8) { Given = Given.Pattern, Groups = 2 },
        ])
        {
            yield return Case(option);
        }

        yield return Case(new(0, 3, 3, 2, 8));
        yield return Case(new(0, 20, 20, 2, 8));
        yield return Case(new(2, 20, 20, 2, 8) { ValueSize = 0 });
        yield return Case(new(2, 5, 5, 0, 8));
        yield return Case(new(2, 9, 9, 4, 8) { Groups = 4, ValueSize = 33 });
        yield return Case(new(2, 9, 9, 8, 8) { Groups = 2, ValueSize = 1, Capacity = 10 });
        yield return Case(new(2, 21, 21, 2, 16) { Factor = 8 });
        yield return Case(new(2, 21, 21, 2, 16) { Special = [.. special, 1e30f] });
        float[] nothing = [.. Enumerable.Repeat(float.NegativeInfinity, 15)];
        yield return Case(new(1, 3, 5, 1, 4) { Given = Given.Scores, Special = nothing });
        yield return Case(new(1, 3, 5, 1, 4) { Given = Given.Scores, Special = nothing, Sinks = true });
    }

    private static OpCase Case(Setup s) => new(s.Name, run =>
    {
        int kvHeads = s.Heads / s.Groups, squares = s.Batch * s.Heads * s.Queries * s.Keys;
        float[] q = run.Values(s.Batch * s.Queries * s.Heads * s.Size).Times(s.Factor);
        float[] k = run.Values(s.Batch * s.Capacity * kvHeads * s.Size).Times(s.Factor);
        float[] v = run.Values(s.Batch * s.Capacity * kvHeads * s.ValueSize);
        float[] given = run.Values(squares).Times(s.Given == Given.Scores ? 4 : 1);
        (s.Given == Given.Nothing ? k : given).With(s.Special);
        v.With(s.SpecialValues);
        Poison(s, q, k, v, given);
        float[] slopes = run.Values(s.Heads), sinks = run.Values(s.Heads).Times(3);
        var truth = new Truth(s, q, k, v, given, slopes, sinks);
        Tensor? square = s.Given == Given.Nothing ? null : run.Tensor(given, s.Batch, s.Heads, s.Queries, s.Keys);
        var shape = new Shape(s.Batch, s.Heads, s.Queries, s.Keys);
        var op = new Attention
        {
            Q = run.Tensor(q, s.Batch, s.Queries, s.Heads, s.Size),
            K = run.Tensor(k, s.Batch, s.Capacity, kvHeads, s.Size),
            V = run.Tensor(v, s.Batch, s.Capacity, kvHeads, s.ValueSize),
            Keys = s.Keys,
            Spans = run.Tensor(
                [.. Enumerable.Range(0, s.Batch).SelectMany(b => (int[])[s.Span(b).First, s.Span(b).End])], s.Batch, 2),
            Scale = 1 / MathF.Sqrt(s.Size),
            Causal = s.Causal,
            Window = s.Window,
            SoftCap = s.SoftCap,
            Slopes = s.Slopes ? run.Tensor(slopes, s.Heads) : null,
            Sinks = s.Sinks ? run.Tensor(sinks, s.Heads) : null,
            GivenScores = s.Given == Given.Scores ? square : null,
            GivenPattern = s.Given == Given.Pattern ? square : null,
        };
        var z = new Shape(s.Batch, s.Queries, s.Heads, s.ValueSize);
        run.Device.Run(op with { Z = run.Output("z", z, truth.Z) });
        run.Device.Run(op with
        {
            Scores = s.Given == Given.Pattern ? null : run.Output("scores", shape, i => truth.Row(i / s.Keys).Scores[i % s.Keys]),
            Pattern = run.Output("pattern", shape, i => truth.Row(i / s.Keys).Pattern[i % s.Keys]),
            Z = run.Output("z beside scores and pattern", z, truth.Z),
        });
        if (s.Given == Given.Nothing)
        {
            run.Device.Run(op with { Scores = run.Output("scores alone", shape, i => truth.Row(i / s.Keys).Scores[i % s.Keys]) });
        }
    });

    /// <summary>NaN wherever no query looks.</summary>
    private static void Poison(Setup s, float[] q, float[] k, float[] v, float[] given)
    {
        for (int b = 0; b < s.Batch; b++)
        {
            for (int j = 0; j < s.Capacity; j++)
            {
                if (j >= s.Keys || !Enumerable.Range(0, s.Queries).Any(i => s.Sees(b, i, j)))
                {
                    int row = b * s.Capacity + j, rows = s.Batch * s.Capacity;
                    int keyRow = k.Length / rows, valueRow = v.Length / rows;
                    k.AsSpan(row * keyRow, keyRow).Fill(float.NaN);
                    v.AsSpan(row * valueRow, valueRow).Fill(float.NaN);
                }
            }

            for (int i = 0; i < s.Queries; i++)
            {
                if (!Enumerable.Range(0, s.Keys).Any(j => s.Sees(b, i, j)))
                {
                    q.AsSpan((b * s.Queries + i) * s.Heads * s.Size, s.Heads * s.Size).Fill(float.NaN);
                }
            }
        }

        for (int i = 0; i < given.Length; i++)
        {
            given[i] = s.Sees(i / s.Keys / s.Queries / s.Heads, i / s.Keys % s.Queries, i % s.Keys) ? given[i] : float.NaN;
        }
    }

    /// <summary>Scores and pattern of each query and head, computed once.</summary>
    private sealed class Truth(Setup s, float[] q, float[] k, float[] v, float[] given, float[] slopes, float[] sinks)
    {
        private readonly Dictionary<int, (Approx[] Scores, Approx[] Pattern)> _rows = [];

        /// <summary>Row (b·heads + h)·queries + i.</summary>
        public (Approx[] Scores, Approx[] Pattern) Row(int row)
        {
            if (!_rows.TryGetValue(row, out (Approx[], Approx[]) stages))
            {
                int b = row / s.Queries / s.Heads, h = row / s.Queries % s.Heads, i = row % s.Queries;
                int[] seen = [.. Enumerable.Range(0, s.Keys).Where(j => s.Sees(b, i, j))];
                Approx[] scores = [.. Enumerable.Repeat((Approx)float.NegativeInfinity, s.Keys)], pattern = new Approx[s.Keys];
                foreach (int j in seen)
                {
                    scores[j] = s.Given == Given.Scores ? given[row * s.Keys + j] : Score(b, h, i, j);
                }

                Approx sink = s.Sinks ? sinks[h] : float.NegativeInfinity;
                Approx max = seen.Aggregate(sink, (m, j) => Approx.Max(m, scores[j]));
                Approx[] weights = [.. seen.Select(j => Approx.Exp(scores[j] - max))];
                Approx sum = Approx.Sum(seen.Length, Approx.Lanes(seen.Length), j => weights[j]);
                sum = s.Sinks ? sum + Approx.Exp(sink - max) : sum;
                for (int j = 0; j < seen.Length; j++)
                {
                    pattern[seen[j]] = s.Given == Given.Pattern ? given[row * s.Keys + seen[j]] : weights[j] * (1 / sum);
                }

                _rows[row] = stages = (scores, pattern);
            }

            return stages;
        }

        public Approx Z(int index)
        {
            int c = index % s.ValueSize, h = index / s.ValueSize % s.Heads, i = index / s.ValueSize / s.Heads % s.Queries;
            int b = index / s.ValueSize / s.Heads / s.Queries;
            Approx[] pattern = Row((b * s.Heads + h) * s.Queries + i).Pattern;
            int[] seen = [.. Enumerable.Range(0, s.Keys).Where(j => s.Sees(b, i, j))];
            return Approx.Dot(seen.Length, seen.Length, j => pattern[seen[j]], j => v[At(b, seen[j], h, s.ValueSize) + c]);
        }

        private Approx Score(int b, int h, int i, int j)
        {
            int query = ((b * s.Queries + i) * s.Heads + h) * s.Size, key = At(b, j, h, s.Size);
            Approx score = Approx.Dot(s.Size, s.Size, c => q[query + c], c => k[key + c]) * (1 / MathF.Sqrt(s.Size));
            score = s.SoftCap > 0 ? s.SoftCap * Approx.Tanh(score / s.SoftCap) : score;
            return s.Slopes ? score + (Approx)slopes[h] * (j - s.Span(b).First) : score;
        }

        private int At(int b, int j, int h, int size) => ((b * s.Capacity + j) * (s.Heads / s.Groups) + h / s.Groups) * size;
    }
}
