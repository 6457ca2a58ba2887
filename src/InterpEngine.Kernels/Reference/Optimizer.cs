namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
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
