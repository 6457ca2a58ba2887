namespace InterpEngine.Dictionaries;

/// <summary>What a dictionary does to each row on its own before it encodes it.</summary>
internal static class RowNormalization
{
    private const float LayerNormEpsilon = 1e-5f;

    /// <summary>Whether there is such a thing.</summary>
    public static bool Has(InputNormalization kind) => kind is InputNormalization.LayerNorm or InputNormalization.ConstantNorm;

    /// <summary>Normalises a row.</summary>
    /// <returns>What undoes it: times the scale, plus the mean.</returns>
    public static (float Mean, float Scale) Apply(Span<float> row, InputNormalization kind)
    {
        bool centres = kind == InputNormalization.LayerNorm;
        double sum = 0, squares = 0;
        foreach (float value in row)
        {
            sum += value;
        }

        double mean = centres ? sum / row.Length : 0;
        foreach (float value in row)
        {
            squares += (value - mean) * (value - mean);
        }

        double deviation = Math.Sqrt(squares / (row.Length - 1));
        double factor = centres ? 1 / (deviation + LayerNormEpsilon) : Math.Sqrt(row.Length / squares);
        foreach (ref float value in row)
        {
            value = (float)((value - mean) * factor);
        }

        return ((float)mean, (float)(centres ? deviation : 1 / factor));
    }
}
