namespace InterpEngine.Dictionaries;

/// <summary>How often which strength occurs: bins of equal width from 0 on, whose range doubles when a stronger value comes.</summary>
public sealed class ActivationHistogram
{
    private const int Bins = 64;
    private readonly int[] _counts = new int[Bins];
    private float _range;

    /// <summary>Values counted.</summary>
    public long Count { get; private set; }

    /// <summary>The strongest.</summary>
    public float Max { get; private set; }

    /// <summary>Counts a value.</summary>
    /// <param name="value">What counts is its magnitude.</param>
    public void Add(float value)
    {
        float strength = Math.Min(MathF.Abs(value), float.MaxValue);
        if (_range == 0)
        {
            _range = MathF.ScaleB(1, Math.Max(MathF.ILogB(Math.Max(strength, 1e-30f)) + 1, -100));
        }

        while (strength >= _range)
        {
            for (int bin = 0; bin < Bins; bin++)
            {
                _counts[bin] = bin < Bins / 2 ? _counts[2 * bin] + _counts[2 * bin + 1] : 0;
            }

            _range *= 2;
        }

        _counts[(int)(strength / _range * Bins)]++;
        Count++;
        Max = Math.Max(Max, strength);
    }

    /// <summary>The counts up to the strongest value.</summary>
    /// <param name="most">Bins at most, from 2 to 64.</param>
    /// <returns>The width of a bin, and each bin's count, from 0 on.</returns>
    public (float Width, int[] Counts) Shown(int most)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 2);
        int merged = 1, used = Array.FindLastIndex(_counts, count => count > 0) + 1;
        while ((used + merged - 1) / merged > most)
        {
            merged *= 2;
        }

        var counts = new int[(used + merged - 1) / merged];
        for (int bin = 0; bin < used; bin++)
        {
            counts[bin / merged] += _counts[bin];
        }

        return (_range / Bins * merged, counts);
    }
}
