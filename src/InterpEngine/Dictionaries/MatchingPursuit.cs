using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>
/// Encodes by choosing, again and again, the feature whose direction explains most of what is left of a row.
/// </summary>
/// <param name="device">Where.</param>
/// <param name="directions">[d, features]: the features' directions as a weight.</param>
/// <param name="decoder">[features, d]: the same as rows.</param>
/// <param name="rule">When to stop.</param>
internal sealed class MatchingPursuit(Device device, Weight directions, Tensor decoder, ActivationRule rule)
{
    /// <summary>Told of every choice: row, feature, and what it explains.</summary>
    public Action<int, int, float>? Chosen { get; init; }

    /// <summary>The activations of rows, and what they leave of them.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="offset">[d]: subtracted from each row first, or null.</param>
    /// <param name="residuals">[n, d].</param>
    public SparseRows Encode(Tensor rows, Tensor? offset, out float[] residuals)
    {
        int count = rows.Shape[0], d = rows.Shape[1], features = directions.Columns;
        float[] centred = rows.ToArray<float>();
        float[] mean = offset?.ToArray<float>() ?? new float[d];
        for (int i = 0; i < centred.Length; i++)
        {
            centred[i] -= mean[i % d];
        }

        using Tensor residual = device.Upload<float>(centred, count, d);
        var active = new SortedDictionary<int, float>[count];
        bool[] done = new bool[count];
        for (int row = 0; row < count; row++)
        {
            active[row] = [];
        }

        for (int iteration = 0; iteration < (rule.MaxIterations ?? d) && !done.All(d => d); iteration++)
        {
            using Tensor positive = device.Upload<float>(new float[features], features);
            using SparseRows best = device.Encode(
                new SparseEncode { X = residual, W = directions, Threshold = positive, Selection = Selection.TopK, K = 1, Out = null! });
            using SparseRows taken = best.Map((row, feature, value) =>
            {
                if (done[row])
                {
                    return 0;
                }

                bool isNew = active[row].GetValueOrDefault(feature) == 0;
                active[row][feature] = active[row].GetValueOrDefault(feature) + value;
                done[row] = rule.StopOnDuplicateSupport && !isNew;
                Chosen?.Invoke(row, feature, value);
                return -value;
            });
            FinishRows(best, done);
            device.Run(new SparseProduct { S = taken, M = decoder, Accumulate = true, Out = residual });
            if (rule.ResidualThreshold > 0)
            {
                float[] norms = DictionaryParameters.RowNorms(residual.ToArray<float>(), count);
                for (int row = 0; row < count; row++)
                {
                    done[row] |= norms[row] < rule.ResidualThreshold;
                }
            }
        }

        residuals = residual.ToArray<float>();
        return SparseRowsEditing.FromRows(device, features, active);
    }

    /// <summary>Nothing more happens to a row that no feature explains any of.</summary>
    private static void FinishRows(SparseRows best, bool[] done)
    {
        int[] pointers = best.RowPointers.ToArray<int>();
        for (int row = 0; row < done.Length; row++)
        {
            done[row] |= pointers[row + 1] == pointers[row];
        }
    }
}
