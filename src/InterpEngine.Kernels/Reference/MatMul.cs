namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in MatMul op)
    {
        MatMul o = op;
        ReferenceWeight weight = Own(o.W);
        ForEach(o.X.Rows, row => MultiplyRow(in o, weight, row));
    }

    /// <inheritdoc/>
    protected override void Execute(in MatMulTransposed op)
    {
        MatMulTransposed o = op;
        ReferenceWeight weight = Own(o.W);
        ForEach(o.X.Rows, row =>
        {
            ReadOnlySpan<float> x = Row(o.X, row);
            double[] sums = new double[weight.Inner];
            for (int n = 0; n < x.Length; n++)
            {
                ReadOnlySpan<float> column = weight.Column(n, 0, weight.Inner);
                for (int k = 0; k < sums.Length; k++)
                {
                    sums[k] += (double)x[n] * column[k];
                }
            }

            Round(sums, Row(o.Out, row));
        });
    }

    private static void MultiplyRow(in MatMul op, ReferenceWeight weight, int row)
    {
        ReadOnlySpan<float> x = Row(op.X, row);
        ReadOnlySpan<float> bias = op.Bias is { } b ? All<float>(b) : [];
        ReadOnlySpan<float> multiply = op.Multiply is { } m ? Row(m, row) : [];
        ReadOnlySpan<float> residual = op.Residual is { } r ? Row(r, row) : [];
        Span<float> pre = op.Pre is { } p ? Row(p, row) : [];
        Span<float> delta = op.Delta is { } d ? Row(d, row) : [];
        Span<float> output = Row(op.Out, row);
        for (int n = 0; n < output.Length; n++)
        {
            float value = (float)Dot(x, weight.Column(op.ColumnStart + n, op.InnerStart, x.Length));
            value = bias.IsEmpty ? value : value + bias[n];
            if (!pre.IsEmpty)
            {
                pre[n] = value;
            }

            value = Activate(op.Activation, value);
            value = multiply.IsEmpty ? value : value * multiply[n];
            if (!delta.IsEmpty)
            {
                delta[n] = value;
            }

            output[n] = residual.IsEmpty ? value : residual[n] + value;
        }
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    private static void Round(ReadOnlySpan<double> values, Span<float> output)
    {
        for (int i = 0; i < output.Length; i++)
        {
            output[i] = (float)values[i];
        }
    }
}
