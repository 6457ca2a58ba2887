namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in MatMul op)
    {
        MatMul o = op;
        ReferenceWeight weight = Own(o.W);
        ForEach(o.X.Rows, row => MultiplyRow(in o, weight, row));
        if (op.Rotation is not null)
        {
            Execute(op.Rotary);
        }
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
        var left = new LeftRow(Row(op.X, row), weight.Type, op.InnerStart);
        ReadOnlySpan<float> bias = op.Bias is { } b ? All<float>(b) : [];
        ReadOnlySpan<float> multiply = op.Multiply is { } m ? Row(m, row) : [];
        ReadOnlySpan<float> residual = op.Residual is { } r ? Row(r, row) : [];
        Span<float> pre = op.Pre is { } p ? Row(p, row) : [];
        Span<float> delta = op.Delta is { } d ? Row(d, row) : [];
        Span<float> output = Row(op.Out, row);
        for (int n = 0; n < output.Length; n++)
        {
            float value = (float)left.Dot(weight, op.ColumnStart + n);
            value = bias.IsEmpty ? value : value + bias[n];
            if (!pre.IsEmpty)
            {
                pre[n] = value;
            }

            value = Activate(op.Activation, value);
            value = multiply.IsEmpty ? value : value * multiply[n];
            value *= op.Scale;
            value = op.SoftCap > 0 ? Map(MapKind.SoftCap, value, op.SoftCap) : value;
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

    /// <summary>A row of X as the weight's type has it: as it is, rounded to BF16, or as groups of integers with their scales.</summary>
    private readonly ref struct LeftRow
    {
        private readonly ReadOnlySpan<float> _x;
        private readonly int _start;
        private readonly float[] _scales = [];

        public LeftRow(ReadOnlySpan<float> x, ElementType type, int start)
        {
            _x = x;
            _start = start;
            if (type == ElementType.F32)
            {
                return;
            }

            float[] rounded = x.ToArray();
            _x = rounded;
            if (type == ElementType.BF16)
            {
                foreach (ref float value in rounded.AsSpan())
                {
                    value = LowPrecision.RoundToBFloat16(value);
                }

                return;
            }

            _scales = new float[(start + x.Length + Weight.GroupSize - 1) / Weight.GroupSize];
            for (int group = start / Weight.GroupSize; group < _scales.Length; group++)
            {
                Span<float> part = rounded.AsSpan()[Range(group)];
                _scales[group] = LowPrecision.Quantize(part, part);
            }
        }

        public double Dot(ReferenceWeight weight, int column)
        {
            ReadOnlySpan<float> w = weight.Column(column, _start, _x.Length);
            if (weight.Type != ElementType.I8)
            {
                return ReferenceDevice.Dot(_x, w);
            }

            double sum = 0;
            for (int group = _start / Weight.GroupSize; group < _scales.Length; group++)
            {
                float scale = weight.Scale(column, group);
                sum += Integers(_x[Range(group)], w[Range(group)], scale) * ((double)_scales[group] * scale);
            }

            return sum;
        }

        /// <summary>Σ of the products of a group's integers.</summary>
        private static double Integers(ReadOnlySpan<float> x, ReadOnlySpan<float> w, float scale)
        {
            double sum = 0;
            for (int i = 0; scale > 0 && i < x.Length; i++)
            {
                sum += (double)x[i] * MathF.Round(w[i] / scale);
            }

            return sum;
        }

        /// <summary>Elements of the row in a group of the weight.</summary>
        private Range Range(int group) =>
            Math.Max(0, group * Weight.GroupSize - _start)..Math.Min(_x.Length, (group + 1) * Weight.GroupSize - _start);
    }
}
