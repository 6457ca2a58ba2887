namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class MatMulCases
{
    private const float Scale = -1.7f;
    private const float SoftCap = 0.8f;

    [Flags]
    private enum Parts
    {
        None = 0,
        Bias = 1,
        Multiply = 2,
        Residual = 4,
        Pre = 8,
        Delta = 16,
        ResidualInPlace = 32 | Residual,
        MultiplyInPlace = 64 | Multiply,
        Scale = 128,
        SoftCap = 256,
        All = Bias | Multiply | Scale | SoftCap | Residual | Pre | Delta,
    }

    public static IEnumerable<OpCase> All()
    {
        foreach ((int rows, int inner, int columns) in Sizes())
        {
            yield return Plain(rows, inner, columns, Parts.None, Activation.None, Layout.Dense);
            yield return Transposed(rows, inner, columns, Layout.Dense);
        }

        foreach (Activation activation in Enum.GetValues<Activation>())
        {
            yield return Plain(5, 33, 49, Parts.All, activation, Layout.Odd);
        }

        foreach (Parts parts in (Parts[])
        [
            Parts.Bias, Parts.Multiply, Parts.Residual, Parts.Pre, Parts.Delta, Parts.Bias | Parts.Pre, Parts.ResidualInPlace,
            Parts.MultiplyInPlace, Parts.Scale, Parts.SoftCap, Parts.Scale | Parts.SoftCap | Parts.Residual, Parts.All | Parts.ResidualInPlace,
        ])
        {
            yield return Plain(1, 17, 37, parts, Activation.Gelu, Layout.Odd);
            yield return Plain(15, 17, 37, parts, Activation.Silu, Layout.Dense);
        }

        yield return Plain(3, 0, 5, Parts.All, Activation.Relu, Layout.Dense);
        yield return Plain(0, 7, 5, Parts.All, Activation.Relu, Layout.Dense);
        yield return Plain(7, 16, 33, Parts.All, Activation.Gelu, Layout.Odd, special: true);
        yield return Plain(1, 33, 17, Parts.None, Activation.None, Layout.Odd, special: true);
        yield return Transposed(7, 16, 33, Layout.Odd, special: true);
        yield return Transposed(3, 33, 17, Layout.Odd);
        foreach ((int innerStart, int columnStart) in ((int, int)[])[(0, 16), (0, 33), (32, 0), (17, 33), (1, 1), (5, 64)])
        {
            yield return Rectangle(1, 32, 48, innerStart, columnStart);
            yield return Rectangle(7, 15, 31, innerStart, columnStart);
        }
    }

    /// <summary>Every odd size around tiles (6, 14 rows; 16, 32 columns) appears with some others.</summary>
    private static IEnumerable<(int Rows, int Inner, int Columns)> Sizes() =>
    [
        (0, 0, 0), (0, 8, 8), (1, 0, 1), (1, 1, 1), (1, 1, 16), (1, 7, 15), (1, 16, 17), (1, 64, 31), (1, 65, 32), (1, 33, 33),
        (1, 128, 63), (1, 31, 64), (1, 17, 65), (1, 96, 129), (1, 300, 200), (2, 15, 16), (3, 8, 1), (4, 63, 47), (5, 17, 96),
        (6, 32, 16), (7, 33, 17), (8, 1, 65), (12, 64, 48), (13, 7, 31), (14, 16, 32), (15, 65, 33), (16, 64, 64),
        (17, 33, 65), (28, 5, 64), (29, 127, 33), (33, 31, 15), (64, 64, 96), (65, 129, 97), (31, 513, 40),
        (1, 700, 1600), (35, 160, 200), // enough for several threads
    ];

    private static OpCase Plain(
        int rows, int inner, int columns, Parts parts, Activation activation, Layout layout, bool special = false)
    {
        string options = $"{(parts == Parts.None ? "" : $" {parts}")}{(activation == Activation.None ? "" : $" {activation}")}";
        string kind = $"{(layout == Layout.Odd ? " strided" : "")}{(special ? " nan inf" : "")}";
        return new OpCase($"MatMul / {rows}x{inner}x{columns}{options.Replace(",", "").ToLowerInvariant()}{kind}", run =>
        {
            float[] x = run.Values(rows * inner), w = run.Values(inner * columns);
            if (special)
            {
                x.With(float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0, -0f, 1e-42f);
                w.With(1e-42f, -0f);
            }

            Execute(run, x, w, rows, inner, columns, parts, activation, layout, run.Weight(w, inner, columns));
        }, work: (long)rows * inner * columns);
    }

    /// <summary>A product with part of a larger weight, whose other elements are NaN.</summary>
    private static OpCase Rectangle(int rows, int inner, int columns, int innerStart, int columnStart) =>
        new($"MatMul / {rows}x{inner}x{columns} rectangle at {innerStart},{columnStart}", run =>
        {
            int allInner = innerStart + inner + 3, allColumns = columnStart + columns + 7;
            float[] x = run.Values(rows * inner), w = run.Values(inner * columns);
            float[] all = [.. Enumerable.Repeat(float.NaN, allInner * allColumns)];
            for (int k = 0; k < inner; k++)
            {
                w.AsSpan(k * columns, columns).CopyTo(all.AsSpan((innerStart + k) * allColumns + columnStart));
            }

            Weight weight = run.Weight(all, allInner, allColumns);
            Execute(run, x, w, rows, inner, columns, Parts.All, Activation.None, Layout.Dense, weight, innerStart, columnStart);
        });

    private static void Execute(
        OpRun run, float[] x, float[] w, int rows, int inner, int columns, Parts parts, Activation activation, Layout layout,
        Weight weight, int innerStart = 0, int columnStart = 0)
    {
        bool Has(Parts part) => (parts & part) == part;
        float[] bias = run.Values(columns), multiply = run.Values(rows * columns), residual = run.Values(rows * columns);
        Approx Pre(int r, int n)
        {
            Approx product = Approx.Dot(inner, inner, k => x[r * inner + k], k => w[k * columns + n]);
            return Has(Parts.Bias) ? product + bias[n] : product;
        }

        Approx Delta(int r, int n)
        {
            Approx value = Approx.Apply(activation, Pre(r, n));
            value = Has(Parts.Multiply) ? value * multiply[r * columns + n] : value;
            value = Has(Parts.Scale) ? value * Scale : value;
            return Has(Parts.SoftCap) ? SoftCap * Approx.Tanh(value / SoftCap) : value;
        }

        Approx Out(int r, int n) => Has(Parts.Residual) ? residual[r * columns + n] + Delta(r, n) : Delta(r, n);

        Matrix? residualMatrix = Has(Parts.Residual) ? run.Matrix(residual, rows, columns, layout) : default(Matrix?);
        Matrix? multiplyMatrix = Has(Parts.Multiply) ? run.Matrix(multiply, rows, columns, layout) : default(Matrix?);
        Matrix? inPlace = Has(Parts.ResidualInPlace) ? residualMatrix : Has(Parts.MultiplyInPlace) ? multiplyMatrix : null;
        if (inPlace is { } reused)
        {
            run.Watch("out", reused, Out);
        }

        run.Device.Run(new MatMul
        {
            X = run.Matrix(x, rows, inner, layout),
            W = weight,
            Bias = Has(Parts.Bias) ? run.Tensor(bias, columns) : null,
            Activation = activation,
            Multiply = multiplyMatrix,
            Scale = Has(Parts.Scale) ? Scale : 1,
            SoftCap = Has(Parts.SoftCap) ? SoftCap : 0,
            Residual = residualMatrix,
            Pre = Has(Parts.Pre) ? run.Output("pre", rows, columns, layout, Pre) : default(Matrix?),
            Delta = Has(Parts.Delta) ? run.Output("delta", rows, columns, layout, Delta) : default(Matrix?),
            Out = inPlace ?? run.Output("out", rows, columns, layout, Out),
            InnerStart = innerStart,
            ColumnStart = columnStart,
        });
    }

    private static OpCase Transposed(int rows, int inner, int columns, Layout layout, bool special = false)
    {
        string kind = $"{(layout == Layout.Odd ? " strided" : "")}{(special ? " nan inf" : "")}";
        return new OpCase($"MatMulTransposed / {rows}x{inner}x{columns}{kind}", run =>
        {
            float[] x = run.Values(rows * columns), w = run.Values(inner * columns);
            if (special)
            {
                x.With(float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0, 1e-42f);
            }

            run.Device.Run(new MatMulTransposed
            {
                X = run.Matrix(x, rows, columns, layout),
                W = run.Weight(w, inner, columns),
                Out = run.Output("out", rows, inner, layout, (r, k) =>
                    Approx.Dot(columns, Approx.Lanes(columns), n => x[r * columns + n], n => w[k * columns + n])),
            });
        }, work: (long)rows * inner * columns);
    }
}
