namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// Directions that the data have: rows of the data, less their mean, mixed with random directions. Fewer features are dead and the
/// reconstruction is better than from random directions alone, which most rows lie far from.
/// </summary>
public static class DataInitialization
{
    /// <summary>Begins decoder rows, and with them encoder rows where both have the same width, near the data.</summary>
    /// <param name="config">What is to be trained.</param>
    /// <param name="parameters">Where it would start otherwise. Its matrices are changed.</param>
    /// <param name="input">[n, input]: rows of the data; features take them in turn.</param>
    /// <param name="target">[n, output]: what they are to become; the input itself for an autoencoder.</param>
    /// <param name="share">The data's share of a direction, from 0 to 1.</param>
    public static void Blend(
        DictionaryConfig config, DictionaryParameters parameters, ReadOnlySpan<float> input, ReadOnlySpan<float> target, double share)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        Blend(parameters.Encoder, config.Features, input, share);
        Blend(parameters.Decoder, config.Features, target, share);
    }

    private static void Blend(float[] matrix, int features, ReadOnlySpan<float> rows, double share)
    {
        int d = matrix.Length / features, n = rows.Length / d;
        if (n == 0 || rows.Length % d != 0)
        {
            throw new DictionaryException($"{rows.Length} values are no rows of {d} to begin from.");
        }

        float[] mean = DictionaryTrainer.ColumnMeans(rows, d);
        double[] mixed = new double[d];
        for (int f = 0; f < features; f++)
        {
            Span<float> direction = matrix.AsSpan(f * d, d);
            ReadOnlySpan<float> row = rows.Slice(f % n * d, d);
            double norm = Norm(direction), spread = 0;
            for (int i = 0; i < d; i++)
            {
                spread += (row[i] - mean[i]) * (row[i] - mean[i]);
            }

            // A row that is the mean has no direction of its own.
            spread = spread > 0 ? Math.Sqrt(spread) : double.PositiveInfinity;
            double squares = 0;
            for (int i = 0; i < d; i++)
            {
                mixed[i] = share * (row[i] - mean[i]) / spread + (1 - share) * direction[i] / norm;
                squares += mixed[i] * mixed[i];
            }

            double scale = squares > 0 ? norm / Math.Sqrt(squares) : 0;
            for (int i = 0; i < d && scale > 0; i++)
            {
                direction[i] = (float)(mixed[i] * scale);
            }
        }
    }

    private static double Norm(ReadOnlySpan<float> vector)
    {
        double squares = 0;
        foreach (float value in vector)
        {
            squares += (double)value * value;
        }

        return Math.Sqrt(squares);
    }
}
