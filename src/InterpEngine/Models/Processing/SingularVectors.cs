namespace InterpEngine.Models.Processing;

/// <summary>
/// The singular value decomposition of a product A·Bᵀ of two narrow matrices, without forming it: orthonormal bases of both, then
/// one-sided Jacobi rotations of the small product of their triangles. Matrices are arrays of columns.
/// </summary>
/// <param name="Left">As many orthonormal columns as A has (zero ones where the product's rank is lower).</param>
/// <param name="Values">Singular values, descending.</param>
/// <param name="Right">Likewise for B.</param>
internal sealed record SingularVectors(double[][] Left, double[] Values, double[][] Right)
{
    private const int MostSweeps = 60;

    public static SingularVectors OfProduct(double[][] a, double[][] b)
    {
        int rank = a.Length;
        double[][] leftTriangle = Orthonormalize(a, out double[][] leftBasis), rightTriangle = Orthonormalize(b, out double[][] rightBasis);

        // Column j of Rₐ·Rᵦᵀ.
        var rotated = new double[rank][];
        for (int j = 0; j < rank; j++)
        {
            rotated[j] = new double[rank];
            for (int k = 0; k < rank; k++)
            {
                Add(rotated[j], leftTriangle[k], rightTriangle[k][j]);
            }
        }

        double[][] rotation = [.. Enumerable.Range(0, rank).Select(i => Unit(rank, i))];
        for (int sweep = 0; sweep < MostSweeps && Sweep(rotated, rotation); sweep++)
        {
        }

        double[] lengths = [.. rotated.Select(column => Math.Sqrt(Dot(column, column)))];
        int[] order = [.. Enumerable.Range(0, rank).OrderByDescending(i => lengths[i])];
        foreach (int i in order)
        {
            Scale(rotated[i], lengths[i] > 0 ? 1 / lengths[i] : 0);
        }

        return new SingularVectors(
            [.. order.Select(i => Combine(leftBasis, rotated[i]))],
            [.. order.Select(i => lengths[i])],
            [.. order.Select(i => Combine(rightBasis, rotation[i]))]);
    }

    /// <summary>Gram–Schmidt, each column twice: columns = basis · triangle.</summary>
    private static double[][] Orthonormalize(double[][] columns, out double[][] basis)
    {
        basis = [.. columns.Select(column => (double[])column.Clone())];
        var triangle = new double[columns.Length][];
        for (int j = 0; j < columns.Length; j++)
        {
            triangle[j] = new double[columns.Length];
            double before = Math.Sqrt(Dot(basis[j], basis[j]));
            for (int pass = 0; pass < 2; pass++)
            {
                for (int k = 0; k < j; k++)
                {
                    double along = Dot(basis[k], basis[j]);
                    triangle[j][k] += along;
                    Add(basis[j], basis[k], -along);
                }
            }

            // What is left of a dependent column is rounding, not a direction.
            double length = Math.Sqrt(Dot(basis[j], basis[j]));
            bool independent = length > 1e-14 * before;
            triangle[j][j] = independent ? length : 0;
            Scale(basis[j], independent ? 1 / length : 0);
        }

        return triangle;
    }

    /// <summary>Makes each pair of columns orthogonal; false where all are already.</summary>
    private static bool Sweep(double[][] columns, double[][] rotation)
    {
        bool turned = false;
        for (int p = 0; p < columns.Length; p++)
        {
            for (int q = p + 1; q < columns.Length; q++)
            {
                double pp = Dot(columns[p], columns[p]), qq = Dot(columns[q], columns[q]), pq = Dot(columns[p], columns[q]);
                if (Math.Abs(pq) <= 1e-15 * Math.Sqrt(pp * qq))
                {
                    continue;
                }

                turned = true;
                double zeta = (qq - pp) / (2 * pq);
                double tangent = Math.CopySign(1, zeta) / (Math.Abs(zeta) + Math.Sqrt(1 + zeta * zeta));
                double cosine = 1 / Math.Sqrt(1 + tangent * tangent), sine = cosine * tangent;
                Turn(columns[p], columns[q], cosine, sine);
                Turn(rotation[p], rotation[q], cosine, sine);
            }
        }

        return turned;
    }

    private static void Turn(double[] p, double[] q, double cosine, double sine)
    {
        for (int i = 0; i < p.Length; i++)
        {
            (p[i], q[i]) = (cosine * p[i] - sine * q[i], sine * p[i] + cosine * q[i]);
        }
    }

    private static double[] Combine(double[][] basis, double[] weights)
    {
        var sum = new double[basis[0].Length];
        for (int i = 0; i < weights.Length; i++)
        {
            Add(sum, basis[i], weights[i]);
        }

        return sum;
    }

    private static double[] Unit(int length, int at)
    {
        var unit = new double[length];
        unit[at] = 1;
        return unit;
    }

    private static double Dot(double[] a, double[] b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }

    private static void Add(double[] to, double[] vector, double factor)
    {
        for (int i = 0; i < to.Length; i++)
        {
            to[i] += factor * vector[i];
        }
    }

    private static void Scale(double[] vector, double factor)
    {
        for (int i = 0; i < vector.Length; i++)
        {
            vector[i] *= factor;
        }
    }
}
