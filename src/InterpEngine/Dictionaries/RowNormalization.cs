namespace InterpEngine.Dictionaries;

/// <summary>What is done to every row before it is encoded, each by itself, as SAELens does it.</summary>
/// <param name="subtractsMean">Whether the mean is subtracted and the unbiased deviation divided by; else rows get the norm √d.</param>
internal sealed class RowNormalization(bool subtractsMean)
{
    private const float Epsilon = 1e-5f;

    /// <summary>A dictionary's, or null where rows stay as they are.</summary>
    public static RowNormalization? Of(InputNormalization normalization) => normalization switch
    {
        InputNormalization.LayerNorm => new(true),
        InputNormalization.ConstantNorm => new(false),
        _ => null,
    };

    /// <summary>Normalises a row.</summary>
    /// <returns>What undoes it: multiply by the scale, then add the mean. The epsilon is not undone.</returns>
    public (float Mean, float Scale) Apply(Span<float> row)
    {
        double sum = 0, squares = 0;
        foreach (float value in row)
        {
            sum += value;
        }

        double mean = subtractsMean ? sum / row.Length : 0;
        foreach (float value in row)
        {
            squares += (value - mean) * (value - mean);
        }

        double deviation = Math.Sqrt(squares / (row.Length - 1));
        double factor = subtractsMean ? 1 / (deviation + Epsilon) : Math.Sqrt(row.Length / squares);
        foreach (ref float value in row)
        {
            value = (float)((value - mean) * factor);
        }

        return ((float)mean, (float)(subtractsMean ? deviation : 1 / factor));
    }
}
