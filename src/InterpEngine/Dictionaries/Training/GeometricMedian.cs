namespace InterpEngine.Dictionaries.Training;

/// <summary>The point from which the distances to all rows add up to the least, by Weiszfeld's iteration.</summary>
internal static class GeometricMedian
{
    private const int MaxIterations = 100;
    private const double Tolerance = 1e-5;

    /// <summary>Of each layer's part of the rows; all stop when the last one has found its point.</summary>
    public static float[] Of(ReadOnlySpan<float> rows, int width, int layers)
    {
        int n = rows.Length / width, d = width / layers;
        double[] point = Array.ConvertAll(DictionaryTrainer.ColumnMeans(rows, width), mean => (double)mean);
        double[] next = new double[width];
        for (int iteration = 0; iteration < MaxIterations; iteration++)
        {
            double furthest = 0;
            for (int l = 0; l < layers; l++)
            {
                Span<double> sum = next.AsSpan(l * d, d), from = point.AsSpan(l * d, d);
                sum.Clear();
                double weights = 0;
                for (int row = 0; row < n; row++)
                {
                    ReadOnlySpan<float> x = rows.Slice(row * width + l * d, d);
                    double squares = 0;
                    for (int i = 0; i < d; i++)
                    {
                        squares += (x[i] - from[i]) * (x[i] - from[i]);
                    }

                    double weight = 1 / Math.Sqrt(squares);
                    weights += weight;
                    for (int i = 0; i < d; i++)
                    {
                        sum[i] += weight * x[i];
                    }
                }

                double moved = 0;
                for (int i = 0; i < d; i++)
                {
                    sum[i] /= weights;
                    moved += (sum[i] - from[i]) * (sum[i] - from[i]);
                }

                furthest = Math.Max(furthest, Math.Sqrt(moved));
            }

            (point, next) = (next, point);
            if (furthest < Tolerance)
            {
                break;
            }
        }

        return Array.ConvertAll(point, p => (float)p);
    }
}
