using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Processing;

/// <summary>One block's attention after <see cref="WeightProcessing.RefactorFactoredAttention"/>, in double precision.</summary>
internal sealed class FactoredHeads
{
    private readonly Dictionary<Parameter, double[][]> _vectors = [];
    private readonly int _width;

    /// <param name="model">The model: learned positions or none, as many key heads as query heads.</param>
    /// <param name="matrixOf">The block's matrices before this step, column by column.</param>
    /// <param name="biasOf">Its biases, null for none.</param>
    public FactoredHeads(ModelDescription model, Func<Parameter, double[]> matrixOf, Func<Parameter, double[]?> biasOf)
    {
        int heads = model.Heads, size = model.HeadSize, all = heads * size;
        _width = model.Width;
        double[][] q = WithBias(matrixOf(QWeight), biasOf(QBias)), k = WithBias(matrixOf(KWeight), biasOf(KBias));
        double[][] v = [.. matrixOf(VWeight).Chunk(_width)];
        double[] o = matrixOf(OWeight);
        double[][] oRows = [.. Enumerable.Range(0, all).Select(i => Enumerable.Range(0, _width).Select(n => o[n * all + i]).ToArray())];
        foreach (Parameter parameter in (ReadOnlySpan<Parameter>)[QWeight, KWeight, VWeight, OWeight])
        {
            _vectors[parameter] = new double[all][];
        }

        Parallel.For(0, heads, head =>
        {
            Range range = (head * size)..((head + 1) * size);
            SingularVectors queriesAndKeys = SingularVectors.OfProduct(q[range], k[range]);
            SingularVectors valuesAndOutput = SingularVectors.OfProduct(v[range], oRows[range]);
            for (int i = 0; i < size; i++)
            {
                double root = Math.Sqrt(queriesAndKeys.Values[i]);
                _vectors[QWeight][head * size + i] = Times(queriesAndKeys.Left[i], root);
                _vectors[KWeight][head * size + i] = Times(queriesAndKeys.Right[i], root);
                _vectors[VWeight][head * size + i] = Times(valuesAndOutput.Left[i], valuesAndOutput.Values[i]);
                _vectors[OWeight][head * size + i] = valuesAndOutput.Right[i];
            }
        });
    }

    /// <summary>One column of a matrix.</summary>
    public void Column(Parameter parameter, int column, Span<double> values)
    {
        double[][] vectors = _vectors[parameter];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = parameter == OWeight ? vectors[i][column] : vectors[column][i];
        }
    }

    /// <summary>The bias of queries or keys.</summary>
    public double[] Bias(Parameter parameter) => [.. _vectors[parameter == QBias ? QWeight : KWeight].Select(column => column[_width])];

    /// <summary>Columns with the bias as one row more, so that it takes part in the product.</summary>
    private double[][] WithBias(double[] matrix, double[]? bias) =>
        [.. matrix.Chunk(_width).Select((column, i) => (double[])[.. column, bias?[i] ?? 0])];

    private static double[] Times(double[] vector, double factor) => [.. vector.Select(value => value * factor)];
}
