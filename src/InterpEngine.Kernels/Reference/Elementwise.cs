namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Add op)
    {
        for (int row = 0; row < op.Out.Rows; row++)
        {
            ReadOnlySpan<float> a = Row(op.A, row), b = Row(op.B, row);
            Span<float> output = Row(op.Out, row);
            for (int i = 0; i < output.Length; i++)
            {
                output[i] = a[i] + b[i];
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in Activate op)
    {
        for (int row = 0; row < op.Out.Rows; row++)
        {
            ReadOnlySpan<float> x = Row(op.X, row);
            ReadOnlySpan<float> multiply = op.Multiply is { } m ? Row(m, row) : [];
            Span<float> output = Row(op.Out, row);
            for (int i = 0; i < output.Length; i++)
            {
                float value = Activate(op.Activation, x[i]);
                output[i] = multiply.IsEmpty ? value : value * multiply[i];
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in Map op)
    {
        for (int row = 0; row < op.Out.Rows; row++)
        {
            ReadOnlySpan<float> x = Row(op.X, row);
            Span<float> output = Row(op.Out, row);
            for (int i = 0; i < output.Length; i++)
            {
                output[i] = Map(op.Kind, x[i], op.Parameter);
            }
        }
    }

    private static float Map(MapKind kind, float x, float p) => kind switch
    {
        MapKind.Scale => (float)(x * (double)p),
        MapKind.SoftCap => (float)(p * Math.Tanh(x / (double)p)),
        _ => Math.Max(-p, Math.Min(p, x)),
    };

    /// <inheritdoc/>
    protected override void Execute(in Copy op)
    {
        for (int row = 0; row < op.To.Rows; row++)
        {
            Row(op.From, row).CopyTo(Row(op.To, row));
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in Fill op)
    {
        for (int row = 0; row < op.Out.Rows; row++)
        {
            Row(op.Out, row).Fill(op.Value);
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in RepeatHeads op)
    {
        int heads = op.Out.Shape[^2];
        for (int token = 0; token < op.X.Rows; token++)
        {
            for (int head = 0; head < heads; head++)
            {
                Row(op.X, token).CopyTo(Row(op.Out, ((long)token * heads + head) * op.X.Columns));
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in SumHeads op)
    {
        int heads = op.X.Shape[^2];
        ReadOnlySpan<float> bias = op.Bias is { } b ? All<float>(b) : [];
        for (int token = 0; token < op.Out.Rows; token++)
        {
            double[] sums = new double[op.Out.Columns];
            for (int head = 0; head < heads; head++)
            {
                ReadOnlySpan<float> x = Row(op.X, ((long)token * heads + head) * op.Out.Columns);
                for (int i = 0; i < sums.Length; i++)
                {
                    sums[i] += x[i];
                }
            }

            for (int i = 0; i < bias.Length; i++)
            {
                sums[i] += bias[i];
            }

            Round(sums, Row(op.Out, token));
        }
    }
}
