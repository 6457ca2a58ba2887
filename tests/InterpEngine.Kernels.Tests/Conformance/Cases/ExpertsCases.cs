namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class ExpertsCases
{
    private static readonly (int Rows, int Experts, int K)[] Routers =
        [(0, 4, 2), (1, 1, 1), (3, 4, 2), (5, 8, 8), (7, 15, 3), (2, 16, 4), (9, 17, 5), (300, 64, 8), (70, 257, 6)];

    private static readonly (int Rows, int Columns, int K)[] Sizes =
        [(0, 5, 2), (3, 0, 2), (4, 1, 1), (2, 7, 0), (5, 15, 3), (3, 16, 2), (6, 33, 1), (67, 1100, 4)];

    public static IEnumerable<OpCase> All()
    {
        foreach ((int rows, int experts, int k) in Routers)
        {
            foreach (bool renormalize in (bool[])[false, true])
            {
                foreach (Layout layout in (Layout[])[Layout.Dense, Layout.Odd])
                {
                    string size = $"{rows}x{experts} k {k}{(layout == Layout.Odd ? " strided" : "")}{(renormalize ? " renormalized" : "")}";
                    yield return Softmax(size, rows, experts, k, renormalize, layout, run => run.Values(rows * experts).Times(6));
                    yield return Sigmoid(size, rows, experts, k, renormalize, (1, 1), layout, run => run.Values(rows * experts));
                }
            }

            yield return Softmax($"{rows}x{experts} k {k} ties", rows, experts, k, true, Layout.Dense, run => Ties(run, rows * experts));
            yield return Sigmoid(
                $"{rows}x{experts} k {k} ties", rows, experts, k, true, (1, 1), Layout.Dense, run => Ties(run, rows * experts));
        }

        foreach ((int groups, int chosen) in ((int, int)[])[(4, 1), (4, 2), (4, 4), (8, 3), (24, 5)])
        {
            string size = $"{chosen} of {groups} groups";
            yield return Sigmoid(size, 40, 24, 4, true, (groups, chosen), Layout.Odd, run => run.Values(40 * 24).Times(3));
            yield return Sigmoid($"{size} ties", 40, 24, 4, true, (groups, chosen), Layout.Odd, run => Ties(run, 40 * 24));
        }

        float[] special = [float.NaN, float.PositiveInfinity, float.NegativeInfinity, 100, -100, -0f];
        yield return Softmax("20x9 special", 20, 9, 3, true, Layout.Dense, run => run.Values(180).With(special));
        yield return Sigmoid("20x9 special", 20, 9, 3, true, (3, 2), Layout.Dense, run => run.Values(180).With(special[1..5]));
        foreach ((int rows, int columns, int k) in Sizes)
        {
            foreach (Layout layout in (Layout[])[Layout.Dense, Layout.Odd])
            {
                string size = $"{rows}x{columns}{(layout == Layout.Odd ? " strided" : "")}";
                yield return Gather(size, rows, columns, layout);
                yield return Combine($"{size} k {k}", rows, columns, k, layout, residual: false);
                yield return Combine($"{size} k {k} residual", rows, columns, k, layout, residual: true);
                yield return Swiglu(size, layout, 7, run => (run.Values(rows * columns).Times(9), run.Values(rows * columns).Times(9)), rows);
            }
        }

        yield return Swiglu("special", Layout.Dense, 7, _ => (Inputs.Special, [.. Inputs.Special.Reverse()]), 1);
        yield return Swiglu(
            "no limit", Layout.Dense, float.PositiveInfinity, run => (run.Values(300).Times(20), run.Values(300).Times(20)), 3);
    }

    private static OpCase Softmax(
        string size, int rows, int experts, int k, bool renormalize, Layout layout, Func<OpRun, float[]> values) =>
        new($"Route / softmax {size}", run =>
        {
            float[] logits = values(run);
            int[][] chosen = [.. logits.Chunk(experts).Select(row => Best(row)[..k])];
            Approx Weight(int i)
            {
                float[] row = logits[(i / k * experts)..((i / k + 1) * experts)];
                int[] best = chosen[i / k];
                Approx Exponential(int expert) => Approx.Exp((Approx)row[expert] - row[best[0]]);
                Approx sum = renormalize
                    ? Approx.Sum(k, k, j => Exponential(best[j]))
                    : Approx.Sum(experts, Approx.Lanes(experts), Exponential);
                return Exponential(best[i % k]) / sum * 1.5f;
            }

            run.Device.Run(new Route
            {
                Logits = run.Matrix(logits, rows, experts, layout),
                Renormalize = renormalize,
                Factor = 1.5f,
                Indices = run.OutputIntegers("indices", new Shape(rows, k), i => chosen[i / k][i % k]),
                Weights = run.Output("weights", new Shape(rows, k), Weight),
            });
        });

    private static OpCase Sigmoid(
        string size, int rows, int experts, int k, bool renormalize, (int All, int Chosen) groups, Layout layout,
        Func<OpRun, float[]> values) =>
        new($"Route / sigmoid {size}", run =>
        {
            float[] logits = values(run);
            float[] bias = [.. run.Integers(experts, 3).Select(i => i * 0.25f - 0.125f)];
            float[] scores = [.. logits.Select(x => (float)(1 / (1 + Math.Exp(-x))))];
            int[][] chosen = [.. scores.Chunk(experts).Select(row => BestOfGroups(row, bias, groups.All, groups.Chosen, k))];
            Approx Score(int row, int expert) => Approx.Apply(Activation.Sigmoid, logits[row * experts + expert]);
            run.Device.Run(new Route
            {
                Logits = run.Matrix(logits, rows, experts, layout),
                Score = RouterScore.Sigmoid,
                ChoiceBias = run.Tensor(bias, experts),
                Groups = groups.All,
                ChosenGroups = groups.Chosen,
                Renormalize = renormalize,
                Factor = 1.7f,
                Indices = run.OutputIntegers("indices", new Shape(rows, k), i => chosen[i / k][i % k]),
                Weights = run.Output("weights", new Shape(rows, k), i =>
                {
                    Approx score = Score(i / k, chosen[i / k][i % k]);
                    Approx sum = Approx.Sum(k, k, j => Score(i / k, chosen[i / k][j])) + 1e-20f;
                    return (renormalize ? score / sum : score) * 1.7f;
                }),
            });
        });

    private static OpCase Gather(string size, int rows, int columns, Layout layout) => new($"GatherRows / {size}", run =>
    {
        float[] x = run.Values(11 * columns).With(float.NaN, -0f);
        int[] indices = [.. run.Integers(rows, 12).Select(i => i - 1)];
        run.Device.Run(new GatherRows
        {
            From = run.Matrix(x, 11, columns, layout),
            Indices = run.Tensor(indices, rows),
            Out = run.Output(
                "out", rows, columns, layout, (r, i) => indices[r] < 0 ? 0 : x[indices[r] * columns + i], exact: true),
        });
    });

    private static OpCase Combine(string size, int rows, int columns, int k, Layout layout, bool residual) =>
        new($"CombineRows / {size}", run =>
        {
            float[] x = run.Values(13 * columns), weights = run.Values(rows * k), added = run.Values(rows * columns);
            int[] indices = [.. run.Integers(rows * k, 14).Select(i => i - 1)];
            Approx Delta(int r, int i) => Approx.Dot(
                k, k, j => indices[r * k + j] < 0 ? 0 : weights[r * k + j], j => x[Math.Max(0, indices[r * k + j]) * columns + i]);
            Approx Out(int r, int i) => residual ? added[r * columns + i] + Delta(r, i) : Delta(r, i);
            Matrix stream = run.Matrix(added, rows, columns, layout);
            var op = new CombineRows
            {
                X = run.Matrix(x, 13, columns, layout),
                Indices = run.Tensor(indices, rows, k),
                Weights = run.Tensor(weights, rows, k),
                Residual = residual ? stream : default(Matrix?),
                Delta = run.Output("delta", rows, columns, layout, Delta),
                Out = run.Output("out", rows, columns, layout, Out),
            };
            run.Device.Run(op);
            run.Watch("in place", stream, Out);
            run.Device.Run(op with { Delta = null, Out = stream });
        });

    private static OpCase Swiglu(
        string size, Layout layout, float limit, Func<OpRun, (float[] Gate, float[] Up)> values, int rows) =>
        new($"ClampedSwiglu / {size}", run =>
        {
            (float[] gate, float[] up) = values(run);
            int columns = rows == 0 ? 5 : gate.Length / rows;
            Approx Truth(int r, int i)
            {
                Approx g = MathF.Min(gate[r * columns + i], limit);
                return g * Approx.Apply(Activation.Sigmoid, (Approx)1.702f * g) * ((Approx)Math.Clamp(up[r * columns + i], -limit, limit) + 1);
            }

            Matrix input = run.Matrix(gate, rows, columns, layout);
            var op = new ClampedSwiglu
            {
                Gate = input,
                Up = run.Matrix(up, rows, columns, Layout.Dense),
                Alpha = 1.702f,
                Limit = limit,
                Out = run.Output("out", rows, columns, layout, Truth),
            };
            run.Device.Run(op);
            run.Watch("in place", input, Truth);
            run.Device.Run(op with { Out = input });
        });

    /// <summary>A stable sort: NaN first, then the largest; adding 0 makes −0 equal +0.</summary>
    private static int[] Best(float[] row) =>
    [
        .. Enumerable.Range(0, row.Length)
            .OrderByDescending(i => float.IsNaN(row[i])).ThenByDescending(i => float.IsNaN(row[i]) ? 0 : row[i] + 0f),
    ];

    private static int[] BestOfGroups(float[] scores, float[] bias, int groups, int chosenGroups, int k)
    {
        int size = scores.Length / groups;
        float[] ranks = [.. scores.Zip(bias, (score, b) => score + b)];
        float[] worth = [.. ranks.Chunk(size).Select(group => group.OrderDescending().Take(2).Sum())];
        int[] kept = Best(worth)[..chosenGroups];
        float[] left = [.. ranks.Select((rank, i) => kept.Contains(i / size) ? rank : 0)];
        return [.. Best(left)[..k].Order().OrderByDescending(i => scores[i])];
    }

    /// <summary>Few distinct values.</summary>
    private static float[] Ties(OpRun run, int count) => [.. run.Integers(count, 3).Select(i => (float)(i * i))];
}
