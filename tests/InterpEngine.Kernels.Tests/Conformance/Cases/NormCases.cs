namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class NormCases
{
    private static readonly (int Rows, int Columns)[] Sizes =
    [
        (0, 8), (1, 1), (2, 2), (3, 7), (1, 8), (2, 15), (1, 16), (3, 17), (2, 31), (5, 32), (2, 33), (3, 63), (1, 64),
        (7, 65), (2, 768), (33, 48), (90, 777), // the last is enough for several threads
    ];

    public static IEnumerable<OpCase> All()
    {
        foreach (NormKind kind in Enum.GetValues<NormKind>())
        {
            foreach ((int rows, int columns) in Sizes)
            {
                bool bias = kind == NormKind.Layer;
                yield return Whole(kind, $"{rows}x{columns}", rows, columns, Layout.Dense, gain: true, bias);
                yield return Stages(kind, rows, columns);
            }

            yield return Whole(kind, "5x33 strided gain", 5, 33, Layout.Odd, gain: true, bias: false);
            yield return Whole(kind, "5x33 strided bias", 5, 33, Layout.Odd, gain: false, bias: true);
            yield return Whole(kind, "5x33 strided", 5, 33, Layout.Odd, gain: false, bias: false);
            yield return Whole(kind, "4x96 far from zero", 4, 96, Layout.Dense, gain: true, bias: true, factor: 1, offset: 300);
            yield return Whole(kind, "4x96 constant", 4, 96, Layout.Dense, gain: true, bias: true, factor: 0, offset: 3);
            yield return Whole(kind, "4x96 zero", 4, 96, Layout.Dense, gain: true, bias: true, factor: 0);
            yield return Whole(kind, "4x96 large", 4, 96, Layout.Dense, gain: true, bias: true, factor: 1e15f);
            yield return Whole(kind, "4x96 small", 4, 96, Layout.Dense, gain: true, bias: true, factor: 1e-10f);
            yield return Whole(kind, "9x40 nan inf", 9, 40, Layout.Odd, gain: true, bias: true, special: true);
        }
    }

    private static OpCase Whole(
        NormKind kind, string size, int rows, int columns, Layout layout, bool gain, bool bias, float factor = 1,
        float offset = 0, bool special = false) => new($"Norm / {kind.ToString().ToLowerInvariant()} {size}", run =>
        {
            float[] x = run.Values(rows * columns).Times(factor, offset), g = run.Values(columns), b = run.Values(columns);
            if (special)
            {
                x.With(float.NaN, float.PositiveInfinity, float.NegativeInfinity);
            }

            var truth = new Truth(kind, x, columns, 1e-5f);
            Approx Out(int r, int i) => Affine(truth.Normalized(r, i), gain ? g[i] : null, bias ? b[i] : null);
            float[] added = run.Values(rows * columns);
            Matrix residual = run.Matrix(added, rows, columns, layout);
            Matrix input = run.Matrix(x, rows, columns, layout);
            var op = new Norm
            {
                Kind = kind,
                X = input,
                Epsilon = 1e-5f,
                Gain = gain ? run.Tensor(g, columns) : null,
                Bias = bias ? run.Tensor(b, columns) : null,
            };
            run.Device.Run(op with
            {
                Scale = run.Output("scale", new Shape(rows), truth.Scale),
                Normalized = run.Output("normalized", rows, columns, layout, truth.Normalized),
                Out = run.Output("out", rows, columns, layout, Out),
            });
            run.Device.Run(op with { Delta = run.Output("delta alone", rows, columns, layout, Out) });
            run.Watch("out in place of the residual", residual, (r, i) => added[r * columns + i] + Out(r, i));
            run.Device.Run(op with
            {
                Residual = residual,
                Delta = run.Output("delta", rows, columns, layout, Out),
                Out = residual,
            });
            run.Watch("in place", input, Out);
            run.Device.Run(op with { Out = input });
        });

    private static OpCase Stages(NormKind kind, int rows, int columns) =>
        new($"Norm / {kind.ToString().ToLowerInvariant()} {rows}x{columns} given stages", run =>
        {
            float[] x = run.Values(rows * columns), scale = run.Values(rows).Times(1, 2), b = run.Values(columns);
            float[] normalized = run.Values(rows * columns);
            var truth = new Truth(kind, x, columns, 1e-5f, scale);
            var op = new Norm { Kind = kind, X = run.Matrix(x, rows, columns, Layout.Dense), Epsilon = 1e-5f };
            run.Device.Run(op with
            {
                GivenScale = run.Tensor(scale, rows),
                Bias = run.Tensor(b, columns),
                Out = run.Output("out of given scale", rows, columns, Layout.Odd, (r, i) => truth.Normalized(r, i) + b[i]),
            });
            run.Device.Run(op with
            {
                X = run.Matrix([.. x.Select(_ => float.NaN)], rows, columns, Layout.Dense),
                GivenNormalized = run.Matrix(normalized, rows, columns, Layout.Odd),
                Gain = run.Tensor(b, columns),
                Out = run.Output(
                    "out of given normalized", rows, columns, Layout.Odd, (r, i) => (Approx)normalized[r * columns + i] * b[i]),
            });
        });

    private static Approx Affine(Approx value, float? gain, float? bias)
    {
        value = gain is { } g ? value * g : value;
        return bias is { } b ? value + b : value;
    }

    /// <summary>The stages of a norm, each row computed once.</summary>
    private sealed class Truth(NormKind kind, float[] x, int columns, float epsilon, float[]? givenScale = null)
    {
        private readonly Dictionary<int, (Approx Mean, Approx Scale)> _rows = [];

        public Approx Scale(int row) => Row(row).Scale;

        public Approx Normalized(int row, int i) =>
            (X(row, i) - Row(row).Mean) * ((Approx)1 / Row(row).Scale);

        private Approx X(int row, int i) => x[row * columns + i];

        private (Approx Mean, Approx Scale) Row(int row)
        {
            if (!_rows.TryGetValue(row, out (Approx Mean, Approx Scale) stages))
            {
                int chain = Approx.Lanes(columns);
                Approx mean = kind == NormKind.Layer ? Approx.Sum(columns, chain, i => X(row, i)) / columns : 0;
                Approx square = Approx.Dot(columns, chain, i => X(row, i) - mean, i => X(row, i) - mean) / columns;
                Approx scale = givenScale is null ? Approx.Sqrt(square + epsilon) : givenScale[row];
                _rows[row] = stages = (mean, scale);
            }

            return stages;
        }
    }
}
