namespace InterpEngine.Kernels.Reference;

/// <summary>The two roundings of low-precision products.</summary>
internal static class LowPrecision
{
    /// <summary>The nearest BF16, ties to even.</summary>
    public static float RoundToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value)
            ? BitConverter.UInt32BitsToSingle((bits | 0x00400000) & 0xffff0000)
            : BitConverter.UInt32BitsToSingle((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
    }

    /// <summary>Rounds a group to integers of at most 127; the result is the scale that they are to be multiplied by.</summary>
    public static float Quantize(ReadOnlySpan<float> group, Span<float> integers)
    {
        float largest = 0;
        foreach (float value in group)
        {
            largest = Math.Max(largest, Math.Abs(value)); // which a NaN stays in
        }

        if (!float.IsFinite(largest) || largest < 7.888609052210118e-31f) // 2⁻¹⁰⁰: the factor must not overflow
        {
            integers.Clear();
            return float.IsFinite(largest) ? 0 : float.NaN;
        }

        float factor = 127 / largest;
        for (int i = 0; i < group.Length; i++)
        {
            integers[i] = MathF.Round(group[i] * factor) + 0f; // integers have no -0
        }

        return largest / 127;
    }
}
