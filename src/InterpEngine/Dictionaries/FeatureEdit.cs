namespace InterpEngine.Dictionaries;

/// <summary>What becomes of one feature's activation in every row.</summary>
/// <param name="Feature">Its index.</param>
/// <param name="Factor">What an activation is multiplied by.</param>
/// <param name="Value">What is added then: with a factor of 0, what the activation is everywhere.</param>
public readonly record struct FeatureEdit(int Feature, float Factor, float Value)
{
    /// <summary>Never active.</summary>
    public static FeatureEdit Zero(int feature) => new(feature, 0, 0);

    /// <summary>As active as it is, times a factor.</summary>
    public static FeatureEdit Scale(int feature, float factor) => new(feature, factor, 0);

    /// <summary>Active by a value in every row, also in those where it was not.</summary>
    public static FeatureEdit Clamp(int feature, float value) => new(feature, 0, value);
}
