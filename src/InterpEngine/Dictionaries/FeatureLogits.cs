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
        int d = model.Description.Width, vocabulary = model.Description.Vocabulary, features = dictionary.Config.Features;
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

        using Weight weight = Pack(device, directions, d, vocabulary);
        var top = new int[features][];
        for (int from = 0; from < features; from += Chunk)
        {
            int rows = Math.Min(Chunk, features - from);
            using Tensor decoder = dictionary.Decoder.Slice(from, rows), logits = device.Allocate(ElementType.F32, rows, vocabulary);
            using Tensor values = device.Allocate(ElementType.F32, rows, count), indices = device.Allocate(ElementType.I32, rows, count);
            device.Run(new MatMul { X = decoder, W = weight, Out = logits });
            device.Run(new TopK { X = logits, Values = values, Indices = indices });
            int[] found = indices.ToArray<int>();
            for (int row = 0; row < rows; row++)
            {
                top[from + row] = found[(row * count)..((row + 1) * count)];
            }
        }

        return top;
    }

    private static unsafe Weight Pack(Device device, float[] directions, int d, int columns)
    {
        Weight weight = device.CreateWeight(d, columns);
        fixed (float* address = directions)
        {
            device.Pack(weight, new WeightBlock((nint)address, ElementType.F32, d, columns, 1, d));
        }

        return weight;
    }
}
