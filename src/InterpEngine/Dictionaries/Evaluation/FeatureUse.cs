using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>How often each feature is active, counted over any number of batches.</summary>
public sealed class FeatureUse
{
    private readonly long[] _active;
    private readonly long[] _prompts;
    private readonly double[] _sums;

    /// <param name="features">How many features.</param>
    public FeatureUse(int features) => (_active, _prompts, _sums) = (new long[features], new long[features], new double[features]);

    /// <summary>Tokens that counted.</summary>
    public long Tokens { get; private set; }

    /// <summary>[features]: the share of tokens at which each is active.</summary>
    public double[] Density => [.. _active.Select(count => (double)count / Math.Max(1, Tokens))];

    /// <summary>[features]: how often each is active in a prompt where it is at all; NaN if it never is.</summary>
    public double[] ActivationsPerPrompt => [.. _active.Zip(_prompts, (count, prompts) => (double)count / prompts)];

    /// <summary>[features]: the mean activation where a feature is active; NaN if it never is.</summary>
    public double[] MeanActivation => [.. _sums.Zip(_active, (sum, count) => sum / count)];

    /// <summary>Features that were never active.</summary>
    public int Dead => _active.Count(count => count == 0);

    /// <summary>Counts a batch.</summary>
    /// <param name="activations">[prompts · rows of each, features].</param>
    /// <param name="rowsPerPrompt">Rows of a prompt.</param>
    /// <param name="counts">Which rows count; null for all.</param>
    public void Add(SparseRows activations, int rowsPerPrompt, Func<int, bool>? counts = null)
    {
        ArgumentNullException.ThrowIfNull(activations);
        (int[] pointers, int[] features, float[] values) = activations.ToArrays();
        var seen = new int[_active.Length];
        for (int row = 0; row < activations.Rows; row++)
        {
            if (counts?.Invoke(row) == false)
            {
                continue;
            }

            Tokens++;
            int prompt = row / rowsPerPrompt + 1;
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                int feature = features[e];
                _active[feature]++;
                _sums[feature] += values[e];
                _prompts[feature] += seen[feature] == prompt ? 0 : 1;
                seen[feature] = prompt;
            }
        }
    }

    /// <summary>
    /// How many features have which density: bins of equal width in log₁₀ density, the first one from <paramref name="lowest"/> on, the last
    /// one to 0 (always active). What is rarer counts in the first bin; dead features in none.
    /// </summary>
    public int[] DensityHistogram(int bins = 40, double lowest = -6)
    {
        var histogram = new int[bins];
        foreach (double density in Density.Where(density => density > 0))
        {
            histogram[Math.Clamp((int)((Math.Log10(density) - lowest) / -lowest * bins), 0, bins - 1)]++;
        }

        return histogram;
    }
}
