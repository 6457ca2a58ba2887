namespace InterpEngine.Kernels.Tests.Conformance.Cases;

/// <summary>Inputs that the op families share.</summary>
internal static class Inputs
{
    /// <summary>Where elementary functions change their ways: zeros, subnormals, under- and overflow, tails, NaN.</summary>
    public static readonly float[] Special =
    [
        .. from magnitude in (float[])
           [
               0, 1e-45f, 1e-40f, 1.2e-38f, 1e-20f, 1e-8f, 1e-3f, 0.1f, 0.25f, 0.5f, 0.6931472f, 0.99f, 1, 1.5f, 2, 3, 4, 5, 6,
               7.5f, 9, 10, 13, 17, 20, 40, 60, 86, 87.3f, 88, 88.8f, 90, 100, 103.9f, 104, 150, 1e3f, 1e5f, 1e10f, 1e20f, 3e38f,
               float.PositiveInfinity,
           ]
           from sign in (float[])[1, -1]
           select sign * magnitude,
        float.NaN,
    ];

    /// <summary>Overwrites some elements, spread over all.</summary>
    public static float[] With(this float[] values, params ReadOnlySpan<float> special)
    {
        for (int i = 0; i < special.Length && values.Length > 0; i++)
        {
            values[(i * 37 + 11) % values.Length] = special[i];
        }

        return values;
    }

    public static float[] Times(this float[] values, float factor, float offset = 0) =>
        [.. values.Select(v => v * factor + offset)];
}
