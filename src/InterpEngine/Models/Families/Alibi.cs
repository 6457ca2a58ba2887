namespace InterpEngine.Models.Families;

/// <summary>The slopes of ALiBi (arXiv 2108.12409).</summary>
internal static class Alibi
{
    /// <summary>
    /// 2^(−8i/n) for n heads, a power of two; of other numbers of heads, the ones past the next lower power take every second slope of
    /// the next higher one.
    /// </summary>
    public static float[] Slopes(int heads)
    {
        int power = 1 << (int)Math.Floor(Math.Log2(heads));
        return [.. Enumerable.Range(1, heads).Select(i => i <= power ? Slope(power, i) : Slope(2 * power, 2 * (i - power) - 1))];
    }

    /// <summary>The i-th of n: a power of a base rounded to single precision, as Transformers computes it.</summary>
    private static float Slope(int n, int i) => (float)Math.Pow((float)Math.Pow(2, -Math.Pow(2, -(Math.Log2(n) - 3))), i);
}
