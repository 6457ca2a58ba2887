namespace InterpEngine.Models;

/// <summary>Draws the next token of one sequence from its logits.</summary>
internal sealed class Sampler(GenerationOptions options, int sequence)
{
    // Sequences start from states that SplitMix64 scatters, not from neighbouring ones.
    private ulong _state = Mix(options.Seed + 0x9E3779B97F4A7C15 * (ulong)sequence);

    public GeneratedToken Draw(ReadOnlySpan<float> logits)
    {
        double normalizer = LogSumExp(logits);
        int id = options.Temperature == 0 ? Likeliest(logits) : Sample(logits);
        var alternatives = new TokenProbability[Math.Min(options.Alternatives, logits.Length)];
        int[] order = alternatives.Length == 0 ? [] : Descending(logits);
        for (int i = 0; i < alternatives.Length; i++)
        {
            alternatives[i] = new TokenProbability(order[i], (float)(logits[order[i]] - normalizer));
        }

        return new GeneratedToken(id, (float)(logits[id] - normalizer), alternatives);
    }

    private static int Likeliest(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            best = logits[i] > logits[best] ? i : best;
        }

        return best;
    }

    private int Sample(ReadOnlySpan<float> logits)
    {
        int[] order = Descending(logits);
        int count = options.TopK == 0 ? order.Length : Math.Min(options.TopK, order.Length);
        double highest = logits[order[0]] / options.Temperature, total = 0;
        var weights = new double[count];
        for (int i = 0; i < count; i++)
        {
            total += weights[i] = Math.Exp(logits[order[i]] / options.Temperature - highest);
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
                return order[i];
            }
        }

        return order[kept - 1];
    }

    /// <summary>Ids by falling logit, of equal ones the lower first.</summary>
    private static int[] Descending(ReadOnlySpan<float> logits)
    {
        float[] values = logits.ToArray();
        int[] order = [.. Enumerable.Range(0, values.Length)];
        Array.Sort(order, (a, b) => values[b].CompareTo(values[a]) is var c && c != 0 ? c : a.CompareTo(b));
        return order;
    }

    private static double LogSumExp(ReadOnlySpan<float> logits)
    {
        double highest = logits[Likeliest(logits)], sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - highest);
        }

        return highest + Math.Log(sum);
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
