using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>How a crosscoder measures a feature's decoder over its layers; numbers as crosscoder_learning stores them.</summary>
internal enum CodeNorm
{
    Crosscoder = 1,
    Sae = 2,
    Mixed = 3,
    None = 4,
    Decoupled = 5,
}

/// <summary>
/// crosscoder_learning: <c>config.json</c> and <c>model.safetensors</c>. A row is that of all layers, one after the other.
/// </summary>
internal static class CrosscoderFormat
{
    // What crosscoder_learning mixes by default.
    private const float MixedSae = 1, MixedCrosscoder = 0.1f;

    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder)
    {
        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, "model.safetensors"));
        CodeNorm norm = NormOf(weights);
        if (norm == CodeNorm.Decoupled)
        {
            throw new InvalidFileException(
                folder, "is a crosscoder whose layers are activated separately, not one dictionary", "Read its layers with DictionaryFile.ReadLayers.");
        }

        return Read(folder, weights, norm, null);
    }

    /// <summary>
    /// The features as each layer of a decoupled crosscoder has them: they read all layers and write that one. Empty for another one.
    /// </summary>
    public static IReadOnlyList<(DictionaryConfig Config, DictionaryParameters Parameters)> ReadLayers(string folder)
    {
        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, "model.safetensors"));
        return NormOf(weights) == CodeNorm.Decoupled
            ? [.. Enumerable.Range(0, weights.Shape("encoder.weight")[0]).Select(layer => Read(folder, weights, CodeNorm.Decoupled, layer))]
            : [];
    }

    private static CodeNorm NormOf(StoredWeights weights) =>
        (CodeNorm)weights.Integers("code_normalization_id")[0] is var norm && Enum.IsDefined(norm)
            ? norm
            : throw new InvalidFileException(weights.Path, $"tensor 'code_normalization_id' is {norm}; expected 1 to 5");

    private static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder, StoredWeights weights, CodeNorm norm, int? layer)
    {
        if (weights.Shape("encoder.weight") is not [int layers, int d, int features])
        {
            throw new InvalidFileException(weights.Path, "tensor 'encoder.weight' is no [layers, width, features]");
        }

        float[] encoder = StoredWeights.Transpose(weights.Read("encoder.weight", layers, d, features), layers * d, features);
        float[] byLayer = weights.Read("decoder.weight", layers, features, d), bias = weights.Read("decoder.bias", layers, d);
        float[]? threshold = !weights.Has("threshold") ? null
            : layer is { } one ? Enumerable.Repeat(weights.Read("threshold", layers)[one], features).ToArray()
            : Enumerable.Repeat(weights.Read("threshold")[0], features).ToArray();
        float[] scale = CodeNorms(byLayer, layers, features, norm, layer);
        (float[]? mean, float[]? factor) = Normalizer(weights, layers, d);
        string configPath = Path.Combine(folder, "config.json");
        int output = layer is null ? layers * d : d;
        return (new DictionaryConfig
        {
            InputWidth = layers * d,
            OutputWidth = output,
            Features = features,
            Rule = threshold is null ? ActivationRule.Relu : ActivationRule.JumpRelu,
            ScalesScores = true,
            IsTranscoder = layer is not null,
            Layers = layers,
            ModelName = File.Exists(configPath) ? ConfigFile.Load(configPath).OptionalString("lm_name") : null,
        }, new DictionaryParameters
        {
            Encoder = encoder,
            EncoderBias = weights.Read("encoder.bias", features),
            Decoder = layer is { } l ? byLayer.AsSpan(l * features * d, features * d).ToArray() : Interleave(byLayer, layers, features, d),
            DecoderBias = layer is { } b ? bias.AsSpan(b * d, d).ToArray() : bias,
            Threshold = threshold,
            ScoreScale = scale,
            InputMean = mean,
            InputScale = factor,
        });
    }

    /// <summary>[layers, features, d] as [features, layers · d].</summary>
    private static float[] Interleave(float[] byLayer, int layers, int features, int d)
    {
        var rows = new float[byLayer.Length];
        for (int l = 0; l < layers; l++)
        {
            for (int f = 0; f < features; f++)
            {
                byLayer.AsSpan((l * features + f) * d, d).CopyTo(rows.AsSpan((f * layers + l) * d));
            }
        }

        return rows;
    }

    private static float[] CodeNorms(float[] byLayer, int layers, int features, CodeNorm norm, int? layer)
    {
        float[] norms = DictionaryParameters.RowNorms(byLayer, layers * features);
        return [.. Enumerable.Range(0, features).Select(f =>
        {
            double sum = 0, squares = 0;
            for (int l = 0; l < layers; l++)
            {
                double n = norms[l * features + f];
                sum += n;
                squares += n * n;
            }

            return norm switch
            {
                CodeNorm.Crosscoder => (float)sum,
                CodeNorm.Sae => (float)Math.Sqrt(squares),
                CodeNorm.Mixed => (float)(MixedSae * Math.Sqrt(squares) + MixedCrosscoder * sum),
                CodeNorm.Decoupled => norms[layer!.Value * features + f],
                _ => 1,
            };
        })];
    }

    /// <summary>The mean and the factor of each element of a row, or nulls where the statistics are all NaN.</summary>
    private static (float[]? Mean, float[]? Factor) Normalizer(StoredWeights weights, int layers, int d)
    {
        if (!weights.Has("activation_mean") || weights.Read("activation_mean", layers, d) is var mean && mean.All(float.IsNaN))
        {
            return (null, null);
        }

        float[] deviation = weights.Read("activation_std", layers, d);
        float target = weights.Read("target_rms")[0];
        var factor = new float[layers * d];
        for (int l = 0; l < layers; l++)
        {
            double variance = 0;
            foreach (float s in deviation.AsSpan(l * d, d))
            {
                variance += (double)s * s;
            }

            factor.AsSpan(l * d, d).Fill((float)(target / Math.Sqrt(variance + 1e-8)));
        }

        return (mean, factor);
    }
}
