namespace InterpEngine.Kernels.Tests.Conformance.Cases;

/// <summary>Selections are judged on inputs that are small integers, of which every device makes the same scores, ties among them.</summary>
internal static class SparseCases
{
    private static readonly (int Rows, int Inner, int Columns)[] Sizes =
        [(0, 3, 8), (1, 1, 1), (3, 5, 17), (2, 9, 48), (19, 4, 64), (70, 33, 130), (5, 8, 2100), (600, 3, 40)];

    public static IEnumerable<OpCase> All()
    {
        foreach ((int rows, int inner, int columns) in Sizes)
        {
            foreach (Selection selection in Enum.GetValues<Selection>())
            {
                int[] some = [1, Math.Min(3, columns), selection == Selection.BatchTopK ? rows * columns : columns];
                foreach (int k in some.Where(k => selection != Selection.GroupMax || columns % k == 0).Distinct())
                {
                    yield return Encode($"{rows}x{inner}x{columns} {selection} {k}", rows, inner, columns, selection, k, false);
                    yield return Encode($"{rows}x{inner}x{columns} {selection} {k} everything", rows, inner, columns, selection, k, true);
                    yield return Encode($"{rows}x{inner}x{columns} {selection} {k} directions", rows, inner, columns, selection, k, true, true);
                }
            }

            yield return Products($"{rows}x{inner}x{columns}", rows, inner, columns);
            yield return Optimizer($"{rows}x{columns}", rows, columns);
            yield return Columns($"{rows}x{columns}", rows, columns);
        }

        yield return Encode("9x4x33 TopK 0", 9, 4, 33, Selection.TopK, 0, true);
        yield return Encode("0x4x0 Threshold", 0, 4, 0, Selection.Threshold, 0, true);
        yield return Encode("4x4x0 Threshold", 4, 4, 0, Selection.Threshold, 0, false);
        yield return Encode("700x2x3000 BatchTopK 5", 700, 2, 3000, Selection.BatchTopK, 5, false);
        foreach (Selection selection in (Selection[])[Selection.Threshold, Selection.TopK, Selection.BatchTopK])
        {
            yield return Encode($"90x5x1700 {selection} 7 chosen", 90, 5, 1700, selection, 7, true, true, c => c % 3 == 1);
        }
    }

    private static OpCase Encode(
        string size, int rows, int inner, int columns, Selection selection, int k, bool everything, bool directions = false,
        Func<int, bool>? isChosen = null)
    {
        int[] candidates = [.. Enumerable.Range(0, columns).Where(isChosen ?? (_ => true))];
        (int Column, float Value)[][]? once = null; // inputs are the same on every device
        return new($"SparseEncode / {size}", run =>
        {
            float[] x = Small(run, rows * inner), w = Small(run, inner * columns), bias = Small(run, columns);
            float[] scale = [.. run.Integers(columns, 3).Select(i => i - 0.5f)];
            float[] threshold = [.. run.Integers(columns, 9).Select(i => i == 8 ? float.PositiveInfinity : i - 6)];
            if (everything && rows > 2)
            {
                x[inner] = float.NaN;
                x[2 * inner] = float.PositiveInfinity;
            }

            float[] offset = directions ? Small(run, inner) : new float[inner];
            float H(int r, int c) =>
                Enumerable.Range(0, inner).Sum(i => (x[r * inner + i] - offset[i]) * w[i * columns + c]) + (everything ? bias[c] : 0);
            (int Column, float Value)[][] truth = once ??= Truth(rows, candidates, selection, k, H, everything ? scale : null, everything ? threshold : null);
            (int Column, float Value)[] entries = [.. truth.SelectMany(row => row)];
            var result = new SparseRows(
                columns,
                run.OutputIntegers("row pointers", new Shape(rows + 1), r => truth.Take(r).Sum(row => row.Length)),
                run.OutputIntegers("columns", new Shape(entries.Length), e => entries[e].Column),
                run.Output("values", new Shape(entries.Length), e => entries[e].Value));
            run.Device.Run(new SparseEncode
            {
                X = run.Matrix(x, rows, inner, Layout.Odd),
                Offset = directions ? run.Tensor(offset, inner) : null,
                W = directions ? null : run.Weight(w, inner, columns),
                DirectionsType = k % 2 == 0 ? ElementType.BF16 : ElementType.F32, // which has these numbers
                Directions = directions ? run.Matrix(Turned(w, inner, columns), columns, inner, Layout.Odd) : default(Matrix?),
                Chosen = isChosen is null ? null : run.Tensor(candidates, candidates.Length),
                Bias = everything ? run.Tensor(bias, columns) : null,
                Scale = everything ? run.Tensor(scale, columns) : null,
                Threshold = everything ? run.Tensor(threshold, columns) : null,
                Pre = everything ? run.Output("pre", rows, candidates.Length, Layout.Odd, (r, c) => H(r, candidates[c])) : default(Matrix?),
                Selection = selection,
                K = k,
                Out = result,
            });
        });
    }

    private static float[] Turned(float[] w, int inner, int columns) =>
        [.. from c in Enumerable.Range(0, columns) from i in Enumerable.Range(0, inner) select w[i * columns + c]];

    private static (int Column, float Value)[][] Truth(
        int rows, int[] candidates, Selection selection, int k, Func<int, int, float> h, float[]? scale, float[]? threshold)
    {
        var all = (from r in Enumerable.Range(0, rows)
                   from c in candidates
                   let value = h(r, c)
                   let score = value * (scale?[c] ?? 1)
                   where !(score <= (threshold?[c] ?? float.NegativeInfinity))
                   let size = selection == Selection.TopMagnitude ? MathF.Abs(score) : score
                   select (Row: r, Column: c, Value: value, Key: float.IsNaN(size) ? double.PositiveInfinity : float.IsInfinity(size) ? Math.Sign(size) * 1e300 : size))
            .ToList();
        int groupSize = selection == Selection.GroupMax ? candidates.Length / k : 0;
        var kept = selection switch
        {
            Selection.Threshold => all,
            Selection.BatchTopK => [.. all.OrderByDescending(e => e.Key).Take(k)],
            Selection.GroupMax => [.. all.GroupBy(e => (e.Row, e.Column / groupSize)).Select(group => group.MaxBy(e => e.Key))],
            _ => all.GroupBy(e => e.Row).SelectMany(group => group.OrderByDescending(e => e.Key).Take(k)).ToList(),
        };
        return [.. Enumerable.Range(0, rows).Select(r =>
            kept.Where(e => e.Row == r).OrderBy(e => e.Column).Select(e => (e.Column, e.Value)).ToArray())];
    }

    private static OpCase Products(string size, int rows, int inner, int columns) =>
        new($"Sparse products / {size}", run =>
        {
            int[][] places = [.. Enumerable.Range(0, rows).Select(r =>
                Enumerable.Range(0, inner).Where(c => (r * 31 + c * 17) % 5 < 2).ToArray())];
            int[] pointers = [0, .. places.Select((_, r) => places.Take(r + 1).Sum(row => row.Length))];
            int[] indices = [.. places.SelectMany(row => row)];
            float[] values = run.Values(indices.Length), m = run.Values(inner * columns), bias = run.Values(columns);
            float[] x = run.Values(rows * columns), before = run.Values(inner * columns);
            var s = new SparseRows(
                inner, run.Tensor(pointers, rows + 1), run.Tensor(indices, indices.Length), run.Tensor(values, values.Length));
            Matrix dense = run.Matrix(m, inner, columns, Layout.Odd);
            Approx Sum(int[] entries, Approx start, Func<int, float> other) => Approx.Dot(
                entries.Length + 1, entries.Length + 1,
                i => i == 0 ? start : values[entries[i - 1]],
                i => i == 0 ? 1 : other(entries[i - 1]));
            int[] Row(int r) => [.. Enumerable.Range(pointers[r], pointers[r + 1] - pointers[r])];
            int RowOf(int e) => Array.FindLastIndex(pointers, p => p <= e);
            int[] Column(int c) => [.. Enumerable.Range(0, indices.Length).Where(e => indices[e] == c)];
            run.Device.Run(new SparseProduct
            {
                S = s,
                M = dense,
                Bias = run.Tensor(bias, columns),
                Out = run.Output("product", rows, columns, Layout.Odd, (r, c) => Sum(Row(r), bias[c], e => m[indices[e] * columns + c])),
            });
            run.Device.Run(new SparseDots
            {
                X = run.Matrix(x, rows, columns, Layout.Odd),
                S = s,
                M = dense,
                Out = run.Output("dots", new Shape(indices.Length), e => Approx.Dot(
                    columns, Approx.Lanes(columns), i => x[RowOf(e) * columns + i], i => m[indices[e] * columns + i])),
            });
            float[] target = run.Values(rows * columns), offset = run.Values(columns);
            Approx Error(int r, int c) => Sum(Row(r), (Approx)bias[c] - target[r * columns + c], e => 0.5f * m[indices[e] * columns + c]);
            Lazy<Approx[]> errors = new(() => [.. from r in Enumerable.Range(0, rows) from c in Enumerable.Range(0, columns) select Error(r, c)]);
            run.Device.Run(new SparseProduct
            {
                S = s,
                Scale = 0.5f,
                M = dense,
                Bias = run.Tensor(bias, columns),
                Target = run.Matrix(target, rows, columns, Layout.Odd),
                Out = run.Output("error", rows, columns, Layout.Odd, Error),
                Dots = run.Output("dots of the error", new Shape(indices.Length), e => Approx.Dot(
                    columns, Approx.Lanes(columns), i => errors.Value[RowOf(e) * columns + i], i => m[indices[e] * columns + i])),
            });
            run.Device.Run(new SparseProduct
            {
                S = s,
                M = dense,
                Offset = run.Tensor(offset, columns),
                Out = run.Output("centred", rows, columns, Layout.Odd, (r, c) => Sum(Row(r), 0, e => m[indices[e] * columns + c] - offset[c])),
            });
            int[] order = [.. Enumerable.Range(0, inner).SelectMany(Column)];
            Tensor starts = run.OutputIntegers("starts", new Shape(inner + 1), c => Enumerable.Range(0, c).Sum(i => Column(i).Length));
            Tensor rowsOf = run.OutputIntegers("rows", new Shape(indices.Length), i => RowOf(order[i]));
            Tensor places2 = run.OutputIntegers("order", new Shape(indices.Length), i => order[i]);
            run.Device.Run(new SparseTranspose { S = s, RowPointers = starts, Indices = rowsOf, Order = places2 });
            Matrix sum = run.Matrix(before, inner, columns, Layout.Odd);
            run.Watch("gradient", sum, (r, c) => Sum(Column(r), before[r * columns + c], e => x[RowOf(e) * columns + c]));
            run.Device.Run(new SparseProduct
            {
                S = new SparseRows(rows, starts, rowsOf, s.Values),
                Order = places2,
                M = run.Matrix(x, rows, columns, Layout.Dense),
                Accumulate = true,
                Out = sum,
            });
        });

    private static OpCase Optimizer(string size, int rows, int columns) =>
        new($"Optimizer / {size}", run =>
        {
            float[] p = run.Values(rows * columns), g = run.Values(rows * columns), m = run.Values(rows * columns);
            float[] v = [.. run.Values(rows * columns).Select(MathF.Abs)];
            Approx Norm(int r) => Approx.Sqrt(Square(p, r));
            Approx Square(float[] a, int r) =>
                Approx.Dot(columns, Approx.Lanes(columns), i => a[r * columns + i], i => a[r * columns + i]);
            foreach (float epsilon in (float[])[-1, 1e-6f])
            {
                Approx W(int r, int c) => epsilon < 0 ? p[r * columns + c] : p[r * columns + c] / (Norm(r) + epsilon);
                Approx Along(int r) => Approx.Dot(columns, Approx.Lanes(columns), i => g[r * columns + i], i => W(r, i));
                Lazy<Approx[]> along = new(() => [.. Enumerable.Range(0, rows).Select(Along)]);
                Approx Projected(int r, int c) => g[r * columns + c] - along.Value[r] * W(r, c);
                Matrix gradient = run.Matrix(g, rows, columns, Layout.Odd);
                run.Watch($"projected {epsilon}", gradient, Projected);
                run.Device.Run(new ProjectGradient
                {
                    Parameter = run.Matrix(p, rows, columns, Layout.Odd),
                    Gradient = gradient,
                    Project = true,
                    DivideEpsilon = epsilon,
                    Squares = run.Output($"squares {epsilon}", new Shape(rows), r => Approx.Dot(
                        columns, Approx.Lanes(columns), i => Projected(r, i), i => Projected(r, i))),
                });
            }

            var step = new AdamStep
            {
                Parameter = run.Matrix(p, rows, columns, Layout.Odd),
                Gradient = run.Matrix(g, rows, columns, Layout.Odd),
                M = run.Matrix(m, rows, columns, Layout.Odd),
                V = run.Matrix(v, rows, columns, Layout.Odd),
                GradientScale = 0.7f,
                StepSize = 0.01f,
                Beta1 = 0.8f,
                Beta2 = 0.95f,
                InverseRootCorrection = 1.5f,
                Epsilon = 0.1f,
            };
            Approx G(int i) => (Approx)0.7f * g[i];
            Approx M(int i) => (Approx)(1 - 0.8f) * G(i) + (Approx)0.8f * m[i];
            Approx V(int i) => (Approx)(1 - 0.95f) * G(i) * G(i) + (Approx)0.95f * v[i];
            Approx P(int i) => p[i] - (Approx)0.01f * M(i) / (Approx.Sqrt(V(i)) * 1.5f + 0.1f);
            run.Watch("m", step.M, (r, c) => M(r * columns + c));
            run.Watch("v", step.V, (r, c) => V(r * columns + c));
            run.Watch("p", step.Parameter, (r, c) => P(r * columns + c));
            run.Device.Run(in step);
            Approx Length(int r) => Approx.Sqrt(Approx.Dot(columns, Approx.Lanes(columns), i => P(r * columns + i), i => P(r * columns + i)));
            Lazy<Approx[]> lengths = new(() => [.. Enumerable.Range(0, rows).Select(Length)]);
            AdamStep unit = step with
            {
                Parameter = run.Matrix(p, rows, columns, Layout.Dense),
                M = run.Matrix(m, rows, columns, Layout.Dense),
                V = run.Matrix(v, rows, columns, Layout.Dense),
                NormalizeEpsilon = 1e-3f,
            };
            run.Watch("unit rows", unit.Parameter, (r, c) => P(r * columns + c) / (lengths.Value[r] + 1e-3f));
            run.Device.Run(in unit);
        });

    private static OpCase Columns(string size, int rows, int columns) =>
        new($"Columns and signs / {size}", run =>
        {
            float[] x = run.Values(rows * columns), z = run.Values(rows * columns), g = run.Values(rows * columns);
            for (int i = 0; i < g.Length; i += 3)
            {
                g[i] = i % 2 == 0 ? 0f : -0f;
            }

            double Sum(int c) => Enumerable.Range(0, rows).Sum(r => (double)x[r * columns + c]);
            run.Device.Run(new ColumnStatistics
            {
                X = run.Matrix(x, rows, columns, Layout.Odd),
                Sums = run.Output("sums", new Shape(columns), c => (float)Sum(c)),
                Deviations = run.Output("deviations", new Shape(columns), c => (float)Enumerable.Range(0, rows).Sum(r =>
                    (x[r * columns + c] - Sum(c) / rows) * (x[r * columns + c] - Sum(c) / rows))),
            });
            var step = new SignStep
            {
                Parameter = run.Matrix(x, rows, columns, Layout.Odd),
                Gradient = run.Matrix(g, rows, columns, Layout.Odd),
                Fast = run.Matrix(z, rows, columns, Layout.Odd),
                Rate = 0.25f,
                Momentum = 0.95f,
                Share = 0.125f,
            };
            Approx Fast(int i) => (Approx)z[i] - 0.25f * (g[i] > 0 ? 1 : g[i] < 0 ? -1 : 0);
            Approx Average(int i, Approx old) => old + (Approx)0.125f * (Fast(i) - old);
            Approx Moved(int i, Approx average) => average + ((Approx)1 - 0.95f) * (Fast(i) - average);
            run.Watch("fast", step.Fast, (r, c) => Fast(r * columns + c));
            run.Watch("y", step.Parameter, (r, c) =>
            {
                int i = r * columns + c;
                return Moved(i, Average(i, (Approx)x[i] + ((Approx)1 - (Approx)1 / 0.95f) * ((Approx)z[i] - x[i])));
            });
            run.Device.Run(in step);
        });

    private static float[] Small(OpRun run, int count) => [.. run.Integers(count, 5).Select(i => i - 2f)];
}
