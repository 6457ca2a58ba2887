namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Route op)
    {
        int k = op.Weights.Shape[1];
        for (int row = 0; row < op.Logits.Rows; row++)
        {
            Span<int> indices = All<int>(op.Indices).Slice(row * k, k);
            Span<float> weights = All<float>(op.Weights).Slice(row * k, k);
            ReadOnlySpan<float> logits = Row(op.Logits, row);
            if (op.Score == RouterScore.Softmax)
            {
                RouteBySoftmax(in op, logits, indices, weights);
            }
            else
            {
                RouteBySigmoid(in op, logits, indices, weights);
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in GatherRows op)
    {
        ReadOnlySpan<int> indices = All<int>(op.Indices);
        CheckIndices(nameof(GatherRows), indices, op.From.Rows);
        for (int row = 0; row < indices.Length; row++)
        {
            if (indices[row] < 0)
            {
                Row(op.Out, row).Clear();
            }
            else
            {
                Row(op.From, indices[row]).CopyTo(Row(op.Out, row));
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in CombineRows op)
    {
        int k = op.Weights.Shape[1];
        ReadOnlySpan<int> indices = All<int>(op.Indices);
        CheckIndices(nameof(CombineRows), indices, op.X.Rows);
        for (int row = 0; row < op.Out.Rows; row++)
        {
            double[] sums = new double[op.Out.Columns];
            for (int j = row * k; j < (row + 1) * k; j++)
            {
                ReadOnlySpan<float> x = indices[j] < 0 ? [] : Row(op.X, indices[j]);
                for (int i = 0; i < x.Length; i++)
                {
                    sums[i] += (double)All<float>(op.Weights)[j] * x[i];
                }
            }

            ReadOnlySpan<float> residual = op.Residual is { } r ? Row(r, row) : [];
            Span<float> delta = op.Delta is { } d ? Row(d, row) : [], output = Row(op.Out, row);
            for (int i = 0; i < sums.Length; i++)
            {
                float sum = (float)sums[i];
                if (!delta.IsEmpty)
                {
                    delta[i] = sum;
                }

                output[i] = residual.IsEmpty ? sum : residual[i] + sum;
            }
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in ClampedSwiglu op)
    {
        for (int row = 0; row < op.Out.Rows; row++)
        {
            ReadOnlySpan<float> gate = Row(op.Gate, row), up = Row(op.Up, row);
            Span<float> output = Row(op.Out, row);
            for (int i = 0; i < output.Length; i++)
            {
                double g = Math.Min(gate[i], op.Limit), u = Math.Clamp(up[i], -op.Limit, op.Limit);
                output[i] = (float)(g * Sigmoid(op.Alpha * g) * (u + 1));
            }
        }
    }

    private static void RouteBySoftmax(in Route op, ReadOnlySpan<float> logits, Span<int> indices, Span<float> weights)
    {
        int[] order = Order(logits.ToArray());
        double largest = logits[order[0]], sum = 0;
        foreach (int expert in op.Renormalize ? order.AsSpan(0, indices.Length) : order)
        {
            sum += Math.Exp(logits[expert] - largest);
        }

        for (int j = 0; j < indices.Length; j++)
        {
            indices[j] = order[j];
            weights[j] = (float)(Math.Exp(logits[order[j]] - largest) / sum * op.Factor);
        }
    }

    private static void RouteBySigmoid(in Route op, ReadOnlySpan<float> logits, Span<int> indices, Span<float> weights)
    {
        ReadOnlySpan<float> bias = op.ChoiceBias is { } b ? All<float>(b) : [];
        float[] scores = new float[logits.Length], choice = new float[logits.Length];
        for (int i = 0; i < logits.Length; i++)
        {
            scores[i] = (float)Sigmoid(logits[i]);
            choice[i] = bias.IsEmpty ? scores[i] : scores[i] + bias[i];
        }

        int size = logits.Length / op.Groups;
        float[] worth = [.. choice.Chunk(size).Select(group => Order(group).Take(2).Select(i => group[i]).Aggregate((x, y) => x + y))];
        foreach (int group in Order(worth)[op.ChosenGroups..])
        {
            choice.AsSpan(group * size, size).Clear();
        }

        int[] chosen = Order(choice)[..indices.Length];
        Array.Sort(chosen);
        chosen = [.. Order([.. chosen.Select(i => scores[i])]).Select(i => chosen[i])];
        double sum = op.Renormalize ? chosen.Sum(i => (double)scores[i]) + 1e-20 : 1;
        for (int j = 0; j < indices.Length; j++)
        {
            indices[j] = chosen[j];
            weights[j] = (float)(scores[chosen[j]] / sum * op.Factor);
        }
    }

    private static void CheckIndices(string op, ReadOnlySpan<int> indices, int end)
    {
        foreach (int index in indices)
        {
            if (index >= end)
            {
                throw new ArgumentException($"{op}: an index lies past the end of its table.");
            }
        }
    }
}
