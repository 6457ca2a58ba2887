namespace InterpEngine.Models;

/// <summary>Draws the next token of one sequence from its likeliest ones.</summary>
internal sealed class Sampler(GenerationOptions options, int sequence)
{
    // Sequences start from states that SplitMix64 scatters, not from neighbouring ones.
    private ulong _state = Mix(options.Seed + 0x9E3779B97F4A7C15 * (ulong)sequence);

    /// <summary>How many of the likeliest tokens have to be known to draw and to report.</summary>
    public static int Candidates(GenerationOptions options, int vocabulary)
    {
        int drawn = options.Temperature == 0 ? 1 : options.TopK == 0 ? vocabulary : options.TopK;
        return Math.Min(vocabulary, Math.Max(drawn, options.Alternatives));
    }

    /// <summary>Draws from what the model predicts after the last token of a row of the batch.</summary>
    public GeneratedToken Draw(Predictions predictions, int row)
    {
        int rank = options.Temperature == 0 ? 0 : Sample(predictions.TopLogits, row);
        var alternatives = new TokenProbability[Math.Min(options.Alternatives, predictions.Top.GetLength(2))];
        for (int i = 0; i < alternatives.Length; i++)
        {
            alternatives[i] = new TokenProbability(predictions.Top[row, 0, i], predictions.TopLogProbabilities[row, 0, i]);
        }

        return new GeneratedToken(predictions.Top[row, 0, rank], predictions.TopLogProbabilities[row, 0, rank], alternatives);
    }

    /// <returns>Which of the likeliest tokens was drawn.</returns>
    private int Sample(float[,,] logits, int row)
    {
        int known = logits.GetLength(2), count = options.TopK == 0 ? known : Math.Min(options.TopK, known);
        double highest = logits[row, 0, 0] / options.Temperature, total = 0;
        var weights = new double[count];
        for (int i = 0; i < count; i++)
        {
            total += weights[i] = Math.Exp(logits[row, 0, i] / options.Temperature - highest);
        }

        // The nucleus: the likeliest tokens up to and including the one that reaches top-p.
        double nucleus = 0;
        int kept = 0;
        while (kept < count && (kept == 0 || nucleus < options.TopP * total))
        {
            nucleus += weights[kept++];
        }

        double left = NextUniform() * nucleus;
        for (int i = 0; i < kept - 1; i++)
        {
            left -= weights[i];
            if (left < 0)
            {
                return i;
            }
        }

        return kept - 1;
    }

    /// <summary>SplitMix64 (Steele, Lea and Flood 2014): small, and the same on every platform and version.</summary>
    private double NextUniform() => (Mix(_state += 0x9E3779B97F4A7C15) >> 11) * (1.0 / (1UL << 53));

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
