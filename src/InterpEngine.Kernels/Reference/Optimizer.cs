namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in ColumnStatistics op)
    {
        ColumnStatistics o = op;
        ForEach(op.X.Columns, column =>
        {
            double sum = 0, deviation = 0;
            for (int row = 0; row < o.X.Rows; row++)
            {
                sum += Row(o.X, row)[column];
            }

            for (int row = 0; row < o.X.Rows; row++)
            {
                double distance = Row(o.X, row)[column] - sum / o.X.Rows;
                deviation += distance * distance;
            }

            All<float>(o.Sums)[column] = (float)sum;
            if (o.Deviations is { } deviations)
            {
                All<float>(deviations)[column] = (float)deviation;
            }
        });
    }

    /// <inheritdoc/>
    protected override void Execute(in SignStep op)
    {
        SignStep o = op;
        ForEach(op.Parameter.Rows, row =>
        {
            Span<float> p = Row(o.Parameter, row), fast = Row(o.Fast, row);
            ReadOnlySpan<float> gradient = Row(o.Gradient, row);
            for (int i = 0; i < p.Length; i++)
            {
                double x = p[i] + (1 - 1.0 / o.Momentum) * ((double)fast[i] - p[i]);
                double z = fast[i] - (gradient[i] > 0 ? o.Rate : gradient[i] < 0 ? -o.Rate : 0);
                x += o.Share * (z - x);
                (fast[i], p[i]) = ((float)z, (float)(x + (1 - (double)o.Momentum) * (z - x)));
            }
        });
    }

    /// <inheritdoc/>
    protected override void Execute(in ProjectGradient op)
    {
        ProjectGradient o = op;
        ForEach(op.Gradient.Rows, row =>
        {
            Span<float> g = Row(o.Gradient, row);
            ReadOnlySpan<float> p = Row(o.Parameter, row);
            if (o.Project)
            {
                double length = o.DivideEpsilon < 0 ? 1 : Math.Sqrt(Dot(p, p)) + o.DivideEpsilon;
                double along = Dot(g, p) / length;
                for (int i = 0; i < g.Length; i++)
                {
                    g[i] = (float)(g[i] - along * (p[i] / length));
                }
            }

            All<float>(o.Squares)[row] = (float)Dot(g, g);
        });
    }

    /// <inheritdoc/>
    protected override void Execute(in AdamStep op)
    {
        AdamStep o = op;
        ForEach(op.Parameter.Rows, row =>
        {
            Span<float> p = Row(o.Parameter, row), m = Row(o.M, row), v = Row(o.V, row);
            ReadOnlySpan<float> gradient = Row(o.Gradient, row);
            for (int i = 0; i < p.Length; i++)
            {
                float g = o.GradientScale * gradient[i];
                m[i] = MathF.FusedMultiplyAdd(1 - o.Beta1, g, o.Beta1 * m[i]);
                v[i] = MathF.FusedMultiplyAdd((1 - o.Beta2) * g, g, o.Beta2 * v[i]);
                p[i] -= o.StepSize * m[i] / MathF.FusedMultiplyAdd(MathF.Sqrt(v[i]), o.InverseRootCorrection, o.Epsilon);
            }

            double length = Math.Sqrt(Dot(p, p)) + o.NormalizeEpsilon;
            for (int i = 0; o.NormalizeEpsilon >= 0 && length > 0 && i < p.Length; i++)
            {
                p[i] = (float)(p[i] / length);
            }
        });
    }
}
