namespace InterpEngine.Kernels.Tests.Conformance.Cases;

/// <summary>Products and look-ups with weights in BF16 and I8: both sides are rounded as the contract says, here by other means.</summary>
internal static class NarrowWeightCases
{
    public static IEnumerable<OpCase> All()
    {
        foreach (ElementType type in (ElementType[])[ElementType.BF16, ElementType.I8])
        {
            foreach ((int rows, int inner, int columns) in ((int, int, int)[])
            [
                (0, 0, 0), (1, 0, 5), (1, 1, 1), (1, 2, 16), (1, 31, 33), (1, 32, 64), (1, 33, 17), (1, 300, 200), (2, 65, 15),
                (3, 64, 129), (4, 95, 31), (5, 7, 48), (7, 128, 65), (9, 40, 16), (15, 33, 63), (16, 64, 32), (17, 63, 96), (31, 100, 40),
                (32, 32, 32), (33, 97, 47), (48, 31, 33), (64, 513, 24), (100, 64, 100), (1, 700, 1600), (70, 700, 130),
            ])
            {
                yield return Product(type, rows, inner, columns, 0, 0, Activation.None);
                yield return Transposed(type, rows, inner, columns);
            }

            foreach ((int innerStart, int columnStart) in ((int, int)[])[(0, 16), (32, 0), (17, 33), (1, 1), (5, 64), (64, 5)])
            {
                yield return Product(type, 1, 32, 48, innerStart, columnStart, Activation.Silu);
                yield return Product(type, 23, 79, 31, innerStart, columnStart, Activation.Gelu);
            }

            yield return Lookup(type, 65, 40);
            yield return Lookup(type, 7, 3);
        }
    }

    private static OpCase Product(
        ElementType type, int rows, int inner, int columns, int innerStart, int columnStart, Activation activation) =>
        new($"MatMul / {type} {rows}x{inner}x{columns} at {innerStart},{columnStart} {activation}", run =>
        {
            int allInner = innerStart + inner + 3, allColumns = columnStart + columns + 7;
            float[] x = run.Values(rows * inner), w = run.Values(allInner * allColumns);
            float[] bias = run.Values(columns), residual = run.Values(rows * columns);
            var right = new Narrow(type, allInner, allColumns, (k, n) => w[k * allColumns + n]);
            var left = new Narrow(
                type, allInner, rows, (k, r) => k >= innerStart && k < innerStart + inner ? x[r * inner + k - innerStart] : 0);

            Approx Out(int r, int c)
            {
                int n = columnStart + c;
                Approx product = type == ElementType.BF16
                    ? Approx.Dot(inner, inner + inner / 16 + 2, k => left.Value(innerStart + k, r), k => right.Value(innerStart + k, n))
                    : Approx.Dot(left.Groups, left.Groups, g => left.Dot(right, g, r, n), g => (Approx)left.Scale(g, r) * right.Scale(g, n));
                return residual[r * columns + c] + Approx.Apply(activation, product + bias[c]);
            }

            run.Device.Run(new MatMul
            {
                X = run.Matrix(x, rows, inner, Layout.Odd),
                W = run.Weight(w, allInner, allColumns, type),
                Bias = run.Tensor(bias, columns),
                Activation = activation,
                Residual = run.Matrix(residual, rows, columns, Layout.Odd),
                Out = run.Output("out", rows, columns, Layout.Odd, Out),
                InnerStart = innerStart,
                ColumnStart = columnStart,
            });
        }, ownSums: type == ElementType.BF16, work: (long)rows * inner * columns);

    private static OpCase Transposed(ElementType type, int rows, int inner, int columns) =>
        new($"MatMulTransposed / {type} {rows}x{inner}x{columns}", run =>
        {
            float[] x = run.Values(rows * columns), w = run.Values(inner * columns);
            var right = new Narrow(type, inner, columns, (k, n) => w[k * columns + n]);
            run.Device.Run(new MatMulTransposed
            {
                X = run.Matrix(x, rows, columns, Layout.Odd),
                W = run.Weight(w, inner, columns, type),
                Out = run.Output("out", rows, inner, Layout.Odd, (r, k) => Approx.Dot(
                    columns, Approx.Lanes(columns), n => x[r * columns + n], n => right.Value(k, n))),
            });
        }, work: (long)rows * inner * columns);

    private static OpCase Lookup(ElementType type, int inner, int columns) =>
        new($"Embed / {type} {inner}x{columns}", run =>
        {
            float[] w = run.Values(inner * columns);
            int[] ids = [.. run.Integers(19, columns), -1];
            var table = new Narrow(type, inner, columns, (k, n) => w[k * columns + n]);
            run.Device.Run(new Embed
            {
                Ids = run.Tensor(ids, ids.Length),
                Table = run.Weight(w, inner, columns, type),
                Out = run.Output("out", ids.Length, inner, Layout.Odd, (t, k) => ids[t] < 0 ? 0 : table.Value(k, ids[t]), exact: true),
            });
        });

    /// <summary>A matrix [K, columns] rounded to a type.</summary>
    private sealed class Narrow
    {
        private const int GroupSize = 32;
        private readonly ElementType _type;
        private readonly int _inner, _columns;
        private readonly float[] _values, _scales;

        public Narrow(ElementType type, int inner, int columns, Func<int, int, float> element)
        {
            (_type, _inner, _columns, Groups) = (type, inner, columns, (inner + GroupSize - 1) / GroupSize);
            _values = new float[inner * columns];
            _scales = new float[Groups * columns];
            for (int n = 0; n < columns; n++)
            {
                for (int g = 0; g < Groups; g++)
                {
                    int end = Math.Min(inner, (g + 1) * GroupSize);
                    float largest = Enumerable.Range(g * GroupSize, end - g * GroupSize).Max(k => Math.Abs(element(k, n)));
                    _scales[g * columns + n] = largest / 127;
                    for (int k = g * GroupSize; k < end; k++)
                    {
                        float value = element(k, n);
                        _values[k * columns + n] =
                            type == ElementType.BF16 ? UpperHalf(value) : largest == 0 ? 0 : MathF.Round(value * (127 / largest)) + 0f;
                    }
                }
            }
        }

        public int Groups { get; }

        public float Scale(int group, int column) => _scales[group * _columns + column];

        public float Value(int k, int column)
        {
            float value = _values[k * _columns + column];
            return _type == ElementType.BF16 ? value : value * Scale(k / GroupSize, column);
        }

        /// <summary>The integers of a group multiplied with those of a column of another matrix.</summary>
        public float Dot(Narrow other, int group, int column, int otherColumn) =>
            Enumerable.Range(group * GroupSize, Math.Min(GroupSize, _inner - group * GroupSize))
                .Sum(k => _values[k * _columns + column] * other._values[k * other._columns + otherColumn]);

        /// <summary>To eight significant bits, ties to even, by decimal places rather than bits.</summary>
        private static float UpperHalf(float value)
        {
            if (value == 0)
            {
                return value;
            }

            double unit = Math.ScaleB(1, Math.ILogB(value) - 7);
            return (float)(Math.Round(value / unit, MidpointRounding.ToEven) * unit);
        }
    }
}
