namespace InterpEngine.Dictionaries;

/// <summary>
/// Other weights that compute the same: scales moved from one matrix to the other, or from the data into the weights, as SAELens does.
/// </summary>
public static class DictionaryFolding
{
    private const float LeastNorm = 1e-8f;

    /// <summary>Decoder rows of length 1; activations grow by what their rows lose, unless they carried it already.</summary>
    /// <exception cref="DictionaryException">Of the k largest others would be chosen.</exception>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) FoldDecoderNorms(DictionaryConfig config, DictionaryParameters parameters)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        bool counts = config.Rule.Kind is ActivationKind.TopK or ActivationKind.TopMagnitude or ActivationKind.BatchTopK or ActivationKind.GroupMax;
        if (counts && !config.ScalesByDecoderNorm)
        {
            throw new DictionaryException(
                $"Decoder norms cannot be folded under {config.Rule.Kind}: other features would be the largest.",
                "Fold dictionaries that compare activations times decoder norms.");
        }

        float[] norms = [.. parameters.DecoderNorms().Select(norm => Math.Max(norm, LeastNorm))];
        float[] inverse = Array.ConvertAll(norms, norm => 1 / norm);
        return (config, new DictionaryParameters
        {
            Encoder = ScaleRows(parameters.Encoder, norms),
            EncoderBias = ScaleRows(parameters.EncoderBias, norms),
            Decoder = DivideRows(parameters.Decoder, norms),
            DecoderBias = parameters.DecoderBias,
            // Scores that carried the norm stay what they were.
            Threshold = parameters.Threshold is { } threshold && !config.ScalesByDecoderNorm ? ScaleRows(threshold, norms) : parameters.Threshold,
            GateBias = parameters.GateBias is { } gate ? ScaleRows(gate, norms) : null,
            MagnitudeScale = parameters.MagnitudeScale,
            ScoreScale = parameters.ScoreScale is { } scores ? ScaleRows(scores, inverse) : null,
            Skip = parameters.Skip,
            InputMean = parameters.InputMean,
            InputScale = parameters.InputScale,
        });
    }

    /// <summary>A dictionary of data times a factor, as a dictionary of the data: s = √d / mean ‖x‖ for
    /// <see cref="InputNormalization.ExpectedAverage"/>.</summary>
    /// <param name="config">What it is.</param>
    /// <param name="parameters">Its weights, which expect scaled data.</param>
    /// <param name="scale">The factor.</param>
    /// <param name="outputScale">The factor of what it makes of them, where that is another: a transcoder's.</param>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) FoldActivationScale(
        DictionaryConfig config, DictionaryParameters parameters, float scale, float? outputScale = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        bool pursuit = config.Rule.Kind == ActivationKind.MatchingPursuit, batch = config.Rule.Kind == ActivationKind.BatchTopK;
        float output = outputScale ?? scale;
        float[] decoder = Array.ConvertAll(parameters.Decoder, value => value / output);
        return (config with
        {
            Normalization = InputNormalization.None,
            Rule = config.Rule with { ResidualThreshold = config.Rule.ResidualThreshold / scale },
        }, new DictionaryParameters
        {
            Encoder = pursuit ? decoder : Array.ConvertAll(parameters.Encoder, value => value * scale),
            EncoderBias = parameters.EncoderBias,
            Decoder = decoder,
            DecoderBias = Array.ConvertAll(parameters.DecoderBias, value => value / output),
            Threshold = batch && config.ScalesByDecoderNorm && parameters.Threshold is { } threshold
                ? Array.ConvertAll(threshold, value => value / output)
                : parameters.Threshold,
            GateBias = parameters.GateBias,
            MagnitudeScale = parameters.MagnitudeScale,
            ScoreScale = parameters.ScoreScale,
            Skip = parameters.Skip is { } skip ? Array.ConvertAll(skip, value => value * scale / output) : null,
        });
    }

    /// <summary>A dictionary of white data, z = (x − mean)·M, as a dictionary of the data.</summary>
    /// <param name="config">What it is.</param>
    /// <param name="parameters">Its weights, which expect white data.</param>
    /// <param name="mean">[d].</param>
    /// <param name="matrix">[d, d]: M.</param>
    /// <param name="inverse">[d, d]: M⁻¹.</param>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) FoldWhitening(
        DictionaryConfig config, DictionaryParameters parameters, float[] mean, float[] matrix, float[] inverse)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        int d = config.InputWidth, features = config.Features;
        // Rows of the encoder are columns of W_enc: M·W_enc is each row times Mᵀ.
        float[] encoder = Multiply(parameters.Encoder, StoredTranspose(matrix, d), features, d);
        float[] bias = [.. parameters.EncoderBias.Select((b, f) => config.CentersInput ? b : (float)(b - Dot(mean, encoder.AsSpan(f * d, d))))];
        float[] decoderBias = Multiply(parameters.DecoderBias, inverse, 1, d);
        return (config with { Normalization = InputNormalization.None }, new DictionaryParameters
        {
            Encoder = encoder,
            EncoderBias = bias,
            Decoder = Multiply(parameters.Decoder, inverse, features, d),
            DecoderBias = [.. decoderBias.Select((b, i) => b + mean[i])],
            Threshold = parameters.Threshold,
            GateBias = parameters.GateBias,
            MagnitudeScale = parameters.MagnitudeScale,
            Skip = parameters.Skip,
        });
    }

    private static float[] ScaleRows(float[] rows, float[] factors)
    {
        int columns = factors.Length == 0 ? 1 : rows.Length / factors.Length;
        return [.. rows.Select((value, i) => value * factors[i / columns])];
    }

    private static float[] DivideRows(float[] rows, float[] divisors)
    {
        int columns = divisors.Length == 0 ? 1 : rows.Length / divisors.Length;
        return [.. rows.Select((value, i) => value / divisors[i / columns])];
    }

    /// <summary>[rows, d] times [d, d].</summary>
    private static float[] Multiply(float[] rows, float[] matrix, int count, int d)
    {
        var result = new float[rows.Length];
        double[] sums = new double[d];
        for (int row = 0; row < count; row++)
        {
            Array.Clear(sums);
            for (int k = 0; k < d; k++)
            {
                for (int i = 0; i < d; i++)
                {
                    sums[i] += (double)rows[row * d + k] * matrix[k * d + i];
                }
            }

            for (int i = 0; i < d; i++)
            {
                result[row * d + i] = (float)sums[i];
            }
        }

        return result;
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    private static float[] StoredTranspose(float[] matrix, int d) => Formats.StoredWeights.Transpose(matrix, d, d);
}
