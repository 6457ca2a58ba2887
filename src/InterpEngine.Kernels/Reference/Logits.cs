namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in LogProbability op)
    {
        ReadOnlySpan<int> targets = All<int>(op.Targets);
        Span<float> output = All<float>(op.Out);
        int count = op.Count;
        for (int row = 0; row < op.X.Rows; row++)
        {
            ReadOnlySpan<float> x = Row(op.X, row);
            (double max, double sum) = MaxAndSum(x);
            for (int i = row * count; i < (row + 1) * count; i++)
            {
                output[i] = targets[i] < 0 ? 0 : (float)(x[targets[i]] - max - Math.Log(sum));
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in LogSoftmax op)
    {
        for (int row = 0; row < op.X.Rows; row++)
        {
            ReadOnlySpan<float> x = Row(op.X, row);
            Span<float> output = Row(op.Out, row);
            (double max, double sum) = MaxAndSum(x);
            for (int i = 0; i < x.Length; i++)
            {
                output[i] = (float)(x[i] - max - Math.Log(sum));
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in TopK op)
    {
        int k = op.Values.Shape[1];
        for (int row = 0; row < op.X.Rows; row++)
        {
            float[] x = Row(op.X, row).ToArray();
            int[] order = Order(x);
            for (int i = 0; i < k; i++)
            {
                All<float>(op.Values)[row * k + i] = x[order[i]];
                All<int>(op.Indices)[row * k + i] = order[i];
            }
        }
    }

    /// <summary>The elements' places, the largest's first, the lower place first of equal ones.</summary>
    private static int[] Order(float[] x)
    {
        int[] order = [.. Enumerable.Range(0, x.Length)];
        Array.Sort(order, (a, b) => LargestFirst(x[a], x[b]) is var c && c != 0 ? c : a.CompareTo(b));
        return order;
    }

    private static int LargestFirst(float a, float b) => float.IsNaN(a) || float.IsNaN(b)
        ? float.IsNaN(b).CompareTo(float.IsNaN(a))
        : b.CompareTo(a);
}
