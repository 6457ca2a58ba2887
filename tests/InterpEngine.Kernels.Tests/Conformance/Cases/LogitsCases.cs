namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class LogitsCases
{
    private static readonly (int Rows, int Columns)[] Sizes =
        [(0, 5), (1, 1), (2, 7), (3, 8), (1, 15), (2, 16), (5, 17), (3, 31), (2, 33), (3, 64), (1, 65), (4, 1000), (14, 5003), (2, 9001)];

    public static IEnumerable<OpCase> All()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            foreach (float factor in (float[])[1, 60])
            {
                yield return Logarithms($"{rows}x{columns} times {factor}", rows, columns, factor, Layout.Dense);
            }

            yield return Logarithms($"{rows}x{columns} strided", rows, columns, 5, Layout.Odd);
            foreach (int k in new SortedSet<int> { 0, 1, Math.Min(2, columns), Math.Min(17, columns), Math.Min(columns, 100) })
            {
                string size = $"{rows}x{columns} k {k}";
                yield return TopK(size, rows, columns, k, Layout.Odd, run => run.Values(rows * columns));
                yield return TopK($"{size} ties", rows, columns, k, Layout.Dense, run => Ties(run, rows * columns));
            }
        }

        float[] infinite = [.. Enumerable.Repeat(float.NegativeInfinity, 64)];
        yield return Logarithms("9x33 nan inf", 9, 33, 1, Layout.Dense, float.NaN, 1 / 0f, -1 / 0f);
        yield return Logarithms("1x16 all -inf", 1, 16, 1, Layout.Dense, infinite);
        yield return Logarithms("1x40 some -inf", 1, 40, 1, Layout.Dense, infinite[..9]);
    }

    private static OpCase Logarithms(
        string size, int rows, int columns, float factor, Layout layout, params float[] special) =>
        new($"LogSoftmax and LogProbability / {size}", run =>
        {
            float[] x = run.Values(rows * columns).Times(factor).With(special);
            int[] targets = run.Integers(rows, columns);
            if (rows > 1)
            {
                targets[1] = -1;
            }

            Lazy<(Approx Max, Approx Log)>[] sums = // lazy since only the reference's run needs them
            [
                .. from r in Enumerable.Range(0, rows)
                   select new Lazy<(Approx, Approx)>(() => LogSum(x.AsMemory(r * columns, columns))),
            ];
            Approx Truth(int r, int i) => x[r * columns + i] - sums[r].Value.Max - sums[r].Value.Log;
            Matrix input = run.Matrix(x, rows, columns, layout);
            run.Device.Run(new LogProbability
            {
                X = input,
                Targets = run.Tensor(targets, rows),
                Out = run.Output("log probability", new Shape(rows), r => targets[r] < 0 ? 0 : Truth(r, targets[r])),
            });
            int[] several = [.. run.Integers(3 * rows, columns).Select((target, i) => i % 4 == 2 ? -1 : target)];
            run.Device.Run(new LogProbability
            {
                X = input,
                Targets = run.Tensor(several, rows, 3),
                Out = run.Output("several", new Shape(rows, 3), i => several[i] < 0 ? 0 : Truth(i / 3, several[i])),
            });
            run.Device.Run(new LogSoftmax { X = input, Out = run.Output("log softmax", rows, columns, layout, Truth) });
            run.Watch("in place", input, Truth);
            run.Device.Run(new LogSoftmax { X = input, Out = input });
        });

    private static (Approx Max, Approx Log) LogSum(ReadOnlyMemory<float> row)
    {
        float max = row.ToArray().Aggregate(float.NegativeInfinity, MathF.Max);
        Approx sum = Approx.Sum(row.Length, Approx.Lanes(row.Length), i => Approx.Exp((Approx)row.Span[i] - max));
        return (max, Approx.Log(sum));
    }

    private static OpCase TopK(string size, int rows, int columns, int k, Layout layout, Func<OpRun, float[]> values) =>
        new($"TopK / {size}", run =>
        {
            float[] x = values(run);
            int[] best = [.. Enumerable.Range(0, rows).SelectMany(r => Best(x.AsSpan(r * columns, columns).ToArray(), k))];
            run.Device.Run(new TopK
            {
                X = run.Matrix(x, rows, columns, layout),
                Values = run.Output("values", new Shape(rows, k), i => x[i / k * columns + best[i]], exact: true),
                Indices = run.OutputIntegers("indices", new Shape(rows, k), i => best[i]),
            });
        });

    /// <summary>A stable sort: NaN first, then the largest; adding 0 makes −0 equal +0.</summary>
    private static IEnumerable<int> Best(float[] row, int k) => Enumerable.Range(0, row.Length)
        .OrderByDescending(i => float.IsNaN(row[i])).ThenByDescending(i => float.IsNaN(row[i]) ? 0 : row[i] + 0f).Take(k);

    /// <summary>Few distinct values, among them zeros of both signs, infinities and NaN.</summary>
    private static float[] Ties(OpRun run, int count)
    {
        float[] values = [0, -0f, 1, -1, float.NegativeInfinity, 2, float.PositiveInfinity, float.NaN, 0.5f];
        return [.. run.Integers(count, values.Length).Select(i => values[i])];
    }
}
