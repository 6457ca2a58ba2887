using InterpEngine.Dictionaries.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Where a run starts when nothing else is given.</summary>
public static class Initialization
{
    private const float Threshold = 0.001f;

    /// <summary>Random directions as SAELens draws them: decoder rows uniform, then of one length; the encoder their transpose; no biases.</summary>
    /// <param name="config">What is to be trained.</param>
    /// <param name="seed">The same seed gives the same parameters.</param>
    /// <param name="decoderNorm">The length of decoder rows.</param>
    /// <param name="skip">Whether there is a linear way around the features, which begins as 0.</param>
    public static DictionaryParameters Random(DictionaryConfig config, int seed, double decoderNorm = 0.1, bool skip = false)
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
            Skip = skip ? new float[output * d] : null,
        };
    }

    /// <summary>A dictionary of any format that <see cref="Formats.DictionaryFile"/> reads, ready to be trained on.</summary>
    /// <param name="path">The dictionary.</param>
    /// <param name="rule">What it is to be trained with, where that is not its own rule; thresholds and gates that it lacks begin as those of
    /// <see cref="Random"/>.</param>
    /// <exception cref="InterpEngine.Formats.InvalidFileException">A file is missing, broken or hostile.</exception>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) FromFile(string path, ActivationRule? rule = null)
    {
        (DictionaryConfig config, DictionaryParameters p) = DictionaryFile.Read(path);
        ActivationKind from = config.Rule.Kind, to = (rule ??= config.Rule).Kind;
        int features = config.Features, d = config.InputWidth;
        bool ungates = from == ActivationKind.Gated && to != ActivationKind.Gated, gates = to == ActivationKind.Gated;
        float[] encoder = to == ActivationKind.MatchingPursuit ? p.Decoder
            : ungates ? [.. p.Encoder.Select((value, i) => value * MathF.Exp(p.MagnitudeScale![i / d]))] : p.Encoder;
        return (config with { Rule = rule }, new DictionaryParameters
        {
            Encoder = encoder,
            Decoder = p.Decoder,
            EncoderBias = p.EncoderBias,
            DecoderBias = p.DecoderBias,
            Threshold = to != ActivationKind.JumpRelu ? null : p.Threshold ?? [.. Enumerable.Repeat(Threshold, features)],
            GateBias = gates ? p.GateBias ?? [.. p.EncoderBias] : null,
            MagnitudeScale = gates ? p.MagnitudeScale ?? new float[features] : null,
            ScoreScale = p.ScoreScale,
            Skip = p.Skip,
            InputMean = p.InputMean,
            InputScale = p.InputScale,
        });
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
