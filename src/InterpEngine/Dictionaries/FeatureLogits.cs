using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>Which tokens features speak for: those whose unembedding points most along a feature's decoder row.</summary>
public static class FeatureLogits
{
    private const int Chunk = 256;

    /// <summary>The tokens that each feature raises most.</summary>
    /// <param name="model">The model that the dictionary belongs to.</param>
    /// <param name="dictionary">A dictionary that writes to the residual stream.</param>
    /// <param name="count">Tokens of each feature.</param>
    /// <returns>[features][count], the most raised first.</returns>
    /// <exception cref="DictionaryException">It writes rows of another width than the residual stream's.</exception>
    public static int[][] Top(Model model, SparseDictionary dictionary, int count)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(dictionary);
        int d = model.Description.Width, vocabulary = model.Description.Vocabulary;
        if (dictionary.Config.OutputWidth != d)
        {
            throw new DictionaryException($"Features of width {dictionary.Config.OutputWidth} have no logits in a model of width {d}.");
        }

        count = Math.Min(count, vocabulary);
        Device device = model.Device;
        float[] directions;
        using (Tensor unembed = model.UnembedDirections([.. Enumerable.Range(0, vocabulary)]))
        {
            directions = unembed.ToArray<float>();
        }

        using Weight weight = Directions.Pack(device, directions, d, vocabulary);
        return [.. Directions.Top(dictionary.Decoder, weight, count, Chunk).Select(top => top.Columns)];
    }
}
