using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>Sums over rows x, their activations z and reconstructions x̂, from which every measure of reconstruction follows.</summary>
internal sealed class ReconstructionSums
{
    private readonly double[] _x;
    private readonly double[] _error;

    /// <param name="x">[rows, d].</param>
    /// <param name="features">[rows, features].</param>
    /// <param name="reconstruction">[rows, d].</param>
    /// <param name="counts">Which rows count; null for all.</param>
    public ReconstructionSums(ReadOnlySpan<float> x, SparseRows features, ReadOnlySpan<float> reconstruction, Func<int, bool>? counts = null)
    {
        int rows = features.Rows, d = rows == 0 ? 0 : x.Length / rows;
        (_x, _error) = (new double[d], new double[d]);
        (int[] pointers, _, float[] values) = features.ToArrays();
        for (int row = 0; row < rows; row++)
        {
            if (counts?.Invoke(row) != false)
            {
                AddRow(x.Slice(row * d, d), reconstruction.Slice(row * d, d));
                AddActivations(values.AsSpan(pointers[row]..pointers[row + 1]));
            }
        }

        double[] mean = [.. _x.Select(sum => sum / Rows)];
        for (int row = 0; row < rows; row++)
        {
            if (counts?.Invoke(row) != false)
            {
                AddLegacyVariance(x.Slice(row * d, d), reconstruction.Slice(row * d, d), mean);
            }
        }
    }

    /// <summary>Rows that count.</summary>
    public int Rows { get; private set; }

    /// <summary>Σ ‖x‖.</summary>
    public double Norm { get; private set; }

    /// <summary>Σ ‖x̂‖.</summary>
    public double ReconstructionNorm { get; private set; }

    /// <summary>Σ ‖x̂‖ / ‖x‖.</summary>
    public double NormRatio { get; private set; }

    /// <summary>Σ ‖x̂‖ / ‖x‖, norms below 1e-4 counting as 1.</summary>
    public double GuardedNormRatio { get; private set; }

    /// <summary>Σ ‖x‖².</summary>
    public double Square { get; private set; }

    /// <summary>Σ ‖x̂‖².</summary>
    public double ReconstructionSquare { get; private set; }

    /// <summary>Σ x·x̂.</summary>
    public double Product { get; private set; }

    /// <summary>Σ cos(x, x̂).</summary>
    public double Cosine { get; private set; }

    /// <summary>Σ ‖x − x̂‖.</summary>
    public double ErrorNorm { get; private set; }

    /// <summary>Σ ‖x − x̂‖².</summary>
    public double ErrorSquare { get; private set; }

    /// <summary>Σ 1 − ‖x − x̂‖² / ‖x − mean‖².</summary>
    public double LegacyVariance { get; private set; }

    /// <summary>Active features.</summary>
    public double Active { get; private set; }

    /// <summary>Σ |z|.</summary>
    public double ActiveSum { get; private set; }

    /// <summary>Σ x, each channel.</summary>
    public IReadOnlyList<double> Sum => _x;

    /// <summary>1 − variance of the error / variance of x, both unbiased and summed over the channels: the error's mean is forgiven.</summary>
    public double VarianceExplained => 1 - (ErrorSquare - SquareOf(_error) / Rows) / (Square - SquareOf(_x) / Rows);

    public static double SquareOf(IEnumerable<double> vector) => vector.Sum(value => value * value);

    private void AddRow(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double xx = 0, yy = 0, xy = 0, ee = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double error = (double)x[i] - y[i];
            (xx, yy, xy, ee) = (xx + (double)x[i] * x[i], yy + (double)y[i] * y[i], xy + (double)x[i] * y[i], ee + error * error);
            _x[i] += x[i];
            _error[i] += error;
        }

        double normX = Math.Sqrt(xx), normY = Math.Sqrt(yy);
        Rows++;
        (Norm, ReconstructionNorm, ErrorNorm) = (Norm + normX, ReconstructionNorm + normY, ErrorNorm + Math.Sqrt(ee));
        (Square, ReconstructionSquare, Product, ErrorSquare) = (Square + xx, ReconstructionSquare + yy, Product + xy, ErrorSquare + ee);
        NormRatio += normY / normX;
        GuardedNormRatio += normY / (normX < 1e-4 ? 1 : normX);
        Cosine += xy / Math.Max(1e-300, normX * normY);
    }

    private void AddActivations(ReadOnlySpan<float> values)
    {
        foreach (float value in values)
        {
            Active += value != 0 ? 1 : 0;
            ActiveSum += Math.Abs(value);
        }
    }

    private void AddLegacyVariance(ReadOnlySpan<float> x, ReadOnlySpan<float> y, double[] mean)
    {
        double error = 0, spread = 0;
        for (int i = 0; i < x.Length; i++)
        {
            error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            spread += (x[i] - mean[i]) * (x[i] - mean[i]);
        }

        LegacyVariance += 1 - error / spread;
    }
}
