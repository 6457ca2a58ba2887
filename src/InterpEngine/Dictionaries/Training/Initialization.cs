namespace InterpEngine.Dictionaries.Training;

/// <summary>Where a run starts when nothing else is given.</summary>
public static class Initialization
{
    private const float Threshold = 0.001f;

    /// <summary>Random directions as SAELens draws them: decoder rows uniform, then of one length; the encoder their transpose; no biases.</summary>
    /// <param name="config">What is to be trained.</param>
    /// <param name="seed">The same seed gives the same parameters.</param>
    /// <param name="decoderNorm">The length of decoder rows.</param>
    public static DictionaryParameters Random(DictionaryConfig config, int seed, double decoderNorm = 0.1)
    {
        ArgumentNullException.ThrowIfNull(config);
        var random = new Random(seed);
        int d = config.InputWidth, output = config.OutputWidth, features = config.Features;
        float[] encoder = Rows(random, features, d, decoderNorm);
        bool gated = config.Rule.Kind == ActivationKind.Gated;
        return new DictionaryParameters
        {
            Encoder = encoder,
            Decoder = d == output ? [.. encoder] : Rows(random, features, output, decoderNorm),
            EncoderBias = new float[features],
            DecoderBias = new float[output],
            Threshold = config.Rule.Kind == ActivationKind.JumpRelu ? [.. Enumerable.Repeat(Threshold, features)] : null,
            GateBias = gated ? new float[features] : null,
            MagnitudeScale = gated ? new float[features] : null,
        };
    }

    private static float[] Rows(Random random, int rows, int columns, double norm)
    {
        var values = new float[(long)rows * columns];
        for (int row = 0; row < rows; row++)
        {
            Span<float> v = values.AsSpan(row * columns, columns);
            double squares = 0;
            foreach (ref float value in v)
            {
                value = random.NextSingle() * 2 - 1;
                squares += value * value;
            }

            float factor = (float)(norm / Math.Sqrt(squares));
            foreach (ref float value in v)
            {
                value *= factor;
            }
        }

        return values;
    }
}
