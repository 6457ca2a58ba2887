namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class ElementwiseCases
{
    private static readonly (int Rows, int Columns)[] Sizes =
    [
        (0, 5), (3, 0), (1, 1), (1, 7), (2, 8), (3, 15), (1, 16), (2, 17), (5, 31), (3, 32), (2, 33), (4, 63), (1, 64),
        (3, 65), (67, 1100), // the last is enough for several threads
    ];

    public static IEnumerable<OpCase> All()
    {
        foreach (Layout layout in (Layout[])[Layout.Dense, Layout.Odd])
        {
            string kind = layout == Layout.Odd ? " strided" : "";
            foreach ((int rows, int columns) in Sizes)
            {
                string size = $"{rows}x{columns}{kind}";
                yield return Add(size, rows, columns, layout);
                yield return Map(size, rows, columns, layout, MapKind.Scale, -0.37f);
                yield return Map(size, rows, columns, layout, MapKind.SoftCap, 2.5f);
                yield return Map(size, rows, columns, layout, MapKind.Clamp, 1.25f);
                yield return Copy(size, rows, columns, layout);
                yield return Fill(size, rows, columns, layout);
                yield return Activate(size, rows, columns, layout, Activation.Gelu, multiply: false);
                yield return Activate(size, rows, columns, layout, Activation.Silu, multiply: true);
                yield return RepeatHeads(size, rows, 3, columns, layout);
                yield return SumHeads(size, rows, 3, columns, layout, bias: false);
                yield return SumHeads(size, rows, 5, columns, layout, bias: true);
            }
        }

        yield return RepeatHeads("no heads", 2, 0, 5, Layout.Dense);
        yield return SumHeads("no heads", 2, 0, 5, Layout.Dense, bias: true);
        yield return SumHeads("one head", 2, 1, 33, Layout.Dense, bias: true);
        foreach (Activation activation in Enum.GetValues<Activation>())
        {
            yield return Special(activation);
            yield return Dense(activation);
        }
    }

    private static string Name(Activation activation) => activation.ToString().ToLowerInvariant();

    private static OpCase Add(string size, int rows, int columns, Layout layout) => new($"Add / {size}", run =>
    {
        float[] a = run.Values(rows * columns).With(Inputs.Special.AsSpan(^5..));
        float[] b = run.Values(rows * columns).With(Inputs.Special.AsSpan(^7..));
        Matrix left = run.Matrix(a, rows, columns, layout), right = run.Matrix(b, rows, columns, Layout.Dense);
        Approx Sum(int r, int i) => a[r * columns + i] + b[r * columns + i];
        run.Device.Run(new Add { A = left, B = right, Out = run.Output("out", rows, columns, layout, Sum) });
        run.Watch("in place", left, Sum);
        run.Device.Run(new Add { A = left, B = right, Out = left });
    });

    private static OpCase Map(string size, int rows, int columns, Layout layout, MapKind kind, float p) =>
        new($"Map / {kind} {size}", run =>
        {
            float[] x = run.Values(rows * columns).Times(4).With(Inputs.Special.AsSpan(^12..));
            Approx Truth(int r, int i)
            {
                float value = x[r * columns + i];
                return kind switch
                {
                    MapKind.Scale => (Approx)value * p,
                    MapKind.SoftCap => p * Approx.Tanh((Approx)value / p),
                    _ => Math.Clamp(value, -p, p),
                };
            }

            Matrix input = run.Matrix(x, rows, columns, layout);
            var op = new Map { X = input, Kind = kind, Parameter = p, Out = run.Output("out", rows, columns, layout, Truth) };
            run.Device.Run(op);
            run.Watch("in place", input, Truth);
            run.Device.Run(op with { Out = input });
        });

    private static OpCase Copy(string size, int rows, int columns, Layout layout) => new($"Copy / {size}", run =>
    {
        float[] x = run.Values(rows * columns).With(Inputs.Special.AsSpan(^40..));
        run.Device.Run(new Copy
        {
            From = run.Matrix(x, rows, columns, layout),
            To = run.Output("to", rows, columns, new Layout(layout.Gap, 2), (r, i) => x[r * columns + i], exact: true),
        });
    });

    private static OpCase Fill(string size, int rows, int columns, Layout layout) => new($"Fill / {size}", run =>
    {
        run.Device.Run(new Fill { Value = -0.1f, Out = run.Output("out", rows, columns, layout, (_, _) => -0.1f, exact: true) });
        run.Device.Run(new Fill { Value = -0f, Out = run.Output("zero", rows, columns, layout, (_, _) => -0f, exact: true) });
    });

    private static OpCase Activate(string size, int rows, int columns, Layout layout, Activation activation, bool multiply) =>
        new($"Activate / {size} {Name(activation)}{(multiply ? " multiply" : "")}", run =>
        {
            float[] x = run.Values(rows * columns).Times(6), m = run.Values(rows * columns);
            Approx Truth(int r, int i)
            {
                Approx value = Approx.Apply(activation, x[r * columns + i]);
                return multiply ? value * m[r * columns + i] : value;
            }

            Matrix input = run.Matrix(x, rows, columns, layout);
            Matrix? by = multiply ? run.Matrix(m, rows, columns, Layout.Dense) : default(Matrix?);
            run.Device.Run(new Activate
            {
                X = input,
                Activation = activation,
                Multiply = by,
                Out = run.Output("out", rows, columns, layout, Truth),
            });
            Matrix inPlace = by ?? input;
            run.Watch("in place", inPlace, Truth);
            run.Device.Run(new Activate { X = input, Activation = activation, Multiply = by, Out = inPlace });
        });

    private static OpCase Special(Activation activation) => new($"Activate / special {Name(activation)}", run =>
    {
        float[] x = Inputs.Special;
        Matrix input = run.Matrix(x, 1, x.Length, Layout.Dense);
        Matrix output = run.Output("out", 1, x.Length, Layout.Dense, (_, i) => Approx.Apply(activation, x[i]));
        run.Device.Run(new Activate { X = input, Activation = activation, Out = output });
    });

    /// <summary>A fine grid over the range in which the function bends.</summary>
    private static OpCase Dense(Activation activation) => new($"Activate / grid {Name(activation)}", run =>
    {
        float[] x = [.. Enumerable.Range(-4000, 8000).Select(i => i * 0.00301f)];
        run.Device.Run(new Activate
        {
            X = run.Matrix(x, 8, 1000, Layout.Dense),
            Activation = activation,
            Out = run.Output("out", 8, 1000, Layout.Dense, (r, i) => Approx.Apply(activation, x[r * 1000 + i])),
        });
    });

    private static OpCase RepeatHeads(string size, int rows, int heads, int columns, Layout layout) =>
        new($"RepeatHeads / {size} {heads} heads", run =>
        {
            float[] x = run.Values(rows * columns).With(float.NaN, -0f);
            run.Device.Run(new RepeatHeads
            {
                X = run.Matrix(x, rows, columns, layout),
                Out = run.Output(
                    "out", new Shape(rows, heads, columns), i => x[i / columns / heads * columns + i % columns], exact: true),
            });
        });

    private static OpCase SumHeads(string size, int rows, int heads, int columns, Layout layout, bool bias) =>
        new($"SumHeads / {size} {heads} heads{(bias ? " bias" : "")}", run =>
        {
            float[] x = run.Values(rows * heads * columns).With(float.NaN, float.PositiveInfinity), b = run.Values(columns);
            run.Device.Run(new SumHeads
            {
                X = run.Tensor(x, rows, heads, columns),
                Bias = bias ? run.Tensor(b, columns) : null,
                Out = run.Output("out", rows, columns, layout, (r, i) =>
                {
                    Approx sum = Approx.Sum(heads, heads, h => x[(r * heads + h) * columns + i]);
                    return bias ? sum + b[i] : sum;
                }),
            });
        });
}
