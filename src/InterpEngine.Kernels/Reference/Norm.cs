namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Norm op)
    {
        float[] normalized = new float[op.X.Columns], delta = new float[op.X.Columns];
        for (int row = 0; row < op.X.Rows; row++)
        {
            if (op.GivenNormalized is { } given)
            {
                Row(given, row).CopyTo(normalized);
            }
            else
            {
                Normalize(in op, row, normalized);
            }

            if (op.Normalized is { } wanted)
            {
                normalized.CopyTo(Row(wanted, row));
            }

            GainAndBias(in op, normalized, delta);
            if (op.Delta is { } added)
            {
                delta.CopyTo(Row(added, row));
            }

            if (op.Out is { } output)
            {
                ReadOnlySpan<float> residual = op.Residual is { } r ? Row(r, row) : [];
                Add(residual, delta, Row(output, row));
            }
        }
    }

    private static void Normalize(in Norm op, int row, Span<float> normalized)
    {
        ReadOnlySpan<float> x = Row(op.X, row);
        double mean = op.Kind == NormKind.Layer ? Mean(x) : 0;
        float scale = op.GivenScale is { } given ? All<float>(given)[row] : Scale(x, mean, op.Epsilon);
        if (op.Scale is { } wanted)
        {
            All<float>(wanted)[row] = scale;
        }

        for (int i = 0; i < x.Length; i++)
        {
            normalized[i] = (float)((x[i] - mean) / scale);
        }
    }

    private static void GainAndBias(in Norm op, ReadOnlySpan<float> normalized, Span<float> output)
    {
        ReadOnlySpan<float> gain = op.Gain is { } g ? All<float>(g) : [];
        ReadOnlySpan<float> bias = op.Bias is { } b ? All<float>(b) : [];
        for (int i = 0; i < output.Length; i++)
        {
            double value = normalized[i];
            value = gain.IsEmpty ? value : value * gain[i];
            output[i] = (float)(bias.IsEmpty ? value : value + bias[i]);
        }
    }

    private static void Add(ReadOnlySpan<float> residual, ReadOnlySpan<float> delta, Span<float> output)
    {
        for (int i = 0; i < output.Length; i++)
        {
            output[i] = residual.IsEmpty ? delta[i] : residual[i] + delta[i];
        }
    }

    private static double Mean(ReadOnlySpan<float> x)
    {
        double sum = 0;
        foreach (float value in x)
        {
            sum += value;
        }

        return sum / x.Length;
    }

    private static float Scale(ReadOnlySpan<float> x, double mean, float epsilon)
    {
        double sum = 0;
        foreach (float value in x)
        {
            sum += (value - mean) * (value - mean);
        }

        return (float)Math.Sqrt(sum / x.Length + epsilon);
    }
}
