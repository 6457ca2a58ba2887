using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>What can be told of features without any text.</summary>
public static class FeatureWeights
{
    /// <summary>Cosines held at a time.</summary>
    private const int CosinesAtOnce = 1 << 24;

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

        using Weight all = Directions.Pack(device, rows, d, features);
        using Tensor directions = device.Upload<float>(rows, features, d);
        return [.. Directions.Top(directions, all, k, Math.Clamp(CosinesAtOnce / features, 1, 1024)).Select((top, self) =>
            top.Columns.Zip(top.Products).Where(other => other.First != self).Take(count).ToArray())];
    }
}
