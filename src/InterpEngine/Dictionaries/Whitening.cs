namespace InterpEngine.Dictionaries;

/// <summary>What makes data white: <c>z = (x − mean)·M</c> has the covariance 1, as far as each direction had any.</summary>
/// <param name="Mean">[d].</param>
/// <param name="Matrix">[d, d]: M = E·diag((λ + 1e-3)^−½), of the eigenvectors E and eigenvalues λ of the covariance.</param>
/// <param name="Inverse">[d, d]: M⁻¹.</param>
public sealed record Whitening(float[] Mean, float[] Matrix, float[] Inverse)
{
    private const double Regularizer = 1e-3;
    private const int MaxSweeps = 60;

    /// <summary>Estimates it.</summary>
    /// <param name="data">[n, d], n at least 2.</param>
    /// <param name="d">Width of a row.</param>
    /// <exception cref="DictionaryException">There are fewer than two rows.</exception>
    public static Whitening Estimate(ReadOnlySpan<float> data, int d)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(d);
        int n = data.Length / d;
        if (n < 2)
        {
            throw new DictionaryException($"A covariance needs two rows at least; there are {n}.");
        }

        double[] mean = new double[d];
        for (int i = 0; i < n * d; i++)
        {
            mean[i % d] += data[i] / (double)n;
        }

        double[,] covariance = new double[d, d];
        for (int row = 0; row < n; row++)
        {
            ReadOnlySpan<float> x = data.Slice(row * d, d);
            for (int i = 0; i < d; i++)
            {
                for (int j = 0; j <= i; j++)
                {
                    covariance[i, j] += (x[i] - mean[i]) * (x[j] - mean[j]) / (n - 1);
                }
            }
        }

        double[,] vectors = Diagonalize(covariance, d);
        float[] matrix = new float[d * d], inverse = new float[d * d];
        for (int j = 0; j < d; j++)
        {
            double root = Math.Sqrt(Math.Max(0, covariance[j, j]) + Regularizer);
            for (int i = 0; i < d; i++)
            {
                matrix[i * d + j] = (float)(vectors[i, j] / root);
                inverse[j * d + i] = (float)(vectors[i, j] * root);
            }
        }

        return new Whitening(Array.ConvertAll(mean, m => (float)m), matrix, inverse);
    }

    /// <summary>Jacobi's rotations: the matrix, of which the lower half is given, becomes diagonal; returns the eigenvectors as columns.</summary>
    private static double[,] Diagonalize(double[,] a, int d)
    {
        double[,] v = new double[d, d];
        for (int i = 0; i < d; i++)
        {
            v[i, i] = 1;
            for (int j = 0; j < i; j++)
            {
                a[j, i] = a[i, j];
            }
        }

        for (int sweep = 0; sweep < MaxSweeps; sweep++)
        {
            double off = 0;
            for (int p = 0; p < d; p++)
            {
                for (int q = p + 1; q < d; q++)
                {
                    off += a[p, q] * a[p, q];
                    Rotate(a, v, d, p, q);
                }
            }

            if (off < 1e-300)
            {
                break;
            }
        }

        return v;
    }

    private static void Rotate(double[,] a, double[,] v, int d, int p, int q)
    {
        if (a[p, q] == 0)
        {
            return;
        }

        double theta = (a[q, q] - a[p, p]) / (2 * a[p, q]);
        double t = (theta < 0 ? -1 : 1) / (Math.Abs(theta) + Math.Sqrt(theta * theta + 1));
        double c = 1 / Math.Sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < d; k++)
        {
            (a[k, p], a[k, q]) = (c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]);
        }

        for (int k = 0; k < d; k++)
        {
            (a[p, k], a[q, k]) = (c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]);
            (v[k, p], v[k, q]) = (c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]);
        }
    }
}
