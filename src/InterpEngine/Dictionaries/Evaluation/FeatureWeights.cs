using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>What can be told of features without any text.</summary>
public static class FeatureWeights
{
    /// <summary>Rows of the decoder that are compared with all others at a time.</summary>
    private const int RowsAtOnce = 1024;

    /// <summary>[features]: the length of what each reads.</summary>
    public static float[] EncoderNorms(DictionaryParameters parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        return DictionaryParameters.RowNorms(parameters.Encoder, parameters.EncoderBias.Length);
    }

    /// <summary>[features]: the cosine of what each reads and what it writes.</summary>
    /// <exception cref="DictionaryException">It reads something else than it writes.</exception>
    public static float[] EncoderDecoderCosines(DictionaryParameters parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        int features = parameters.EncoderBias.Length, d = parameters.DecoderBias.Length;
        if (parameters.Encoder.Length != parameters.Decoder.Length)
        {
            throw new DictionaryException("Encoder and decoder differ in width, so that no cosine tells anything.");
        }

        float[] encoder = EncoderNorms(parameters), decoder = parameters.DecoderNorms(), cosines = new float[features];
        for (int f = 0; f < features; f++)
        {
            double sum = 0;
            for (int i = f * d; i < (f + 1) * d; i++)
            {
                sum += (double)parameters.Encoder[i] * parameters.Decoder[i];
            }

            cosines[f] = (float)(sum / ((double)encoder[f] * decoder[f]));
        }

        return cosines;
    }

    /// <summary>For each feature the others that write most alike: feature and cosine, the most alike first.</summary>
    /// <param name="dictionary">The dictionary.</param>
    /// <param name="count">How many for each; fewer where there are fewer others.</param>
    public static IReadOnlyList<(int Feature, float Cosine)[]> Nearest(SparseDictionary dictionary, int count)
    {
        ArgumentNullException.ThrowIfNull(dictionary);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        Device device = dictionary.Device;
        int features = dictionary.Config.Features, d = dictionary.Config.OutputWidth, k = Math.Min(count + 1, features);
        float[] rows = [.. dictionary.Parameters.Decoder], norms = dictionary.Parameters.DecoderNorms();
        for (int i = 0; i < rows.Length; i++)
        {
            rows[i] /= Math.Max(norms[i / d], 1e-30f);
        }

        using Weight all = Packed(device, rows, d, features);
        using Tensor directions = device.Upload<float>(rows, features, d);
        var nearest = new (int, float)[features][];
        for (int start = 0; start < features; start += RowsAtOnce)
        {
            int n = Math.Min(RowsAtOnce, features - start);
            using Tensor some = directions.Slice(start, n), cosines = device.Allocate(ElementType.F32, n, features);
            using Tensor values = device.Allocate(ElementType.F32, n, k), indices = device.Allocate(ElementType.I32, n, k);
            device.Run(new MatMul { X = some, W = all, Out = cosines });
            device.Run(new TopK { X = cosines, Values = values, Indices = indices });
            float[] value = values.ToArray<float>();
            int[] index = indices.ToArray<int>();
            for (int row = 0; row < n; row++)
            {
                int self = start + row;
                nearest[self] = [.. Enumerable.Range(row * k, k).Where(i => index[i] != self).Take(count).Select(i => (index[i], value[i]))];
            }
        }

        return nearest;
    }

    private static unsafe Weight Packed(Device device, float[] rows, int d, int features)
    {
        Weight weight = device.CreateWeight(d, features);
        fixed (float* from = rows)
        {
            device.Pack(weight, new WeightBlock((nint)from, ElementType.F32, d, features, 1, d));
        }

        return weight;
    }
}
