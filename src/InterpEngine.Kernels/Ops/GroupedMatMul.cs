namespace InterpEngine.Kernels;

/// <summary>
/// Products of rows that have different weights: <c>out = act(X·W[g] + bias[g]) ⊙ multiply</c>, as the experts of a mixture compute. The
/// rows lie group after group (<see cref="Starts"/>), or each names its weight (<see cref="Choice"/>). The bits are those of a
/// <see cref="MatMul"/> for each group or row.
/// </summary>
public readonly record struct GroupedMatMul
{
    /// <summary>[rows, K].</summary>
    public required Matrix X { get; init; }

    /// <summary>[K, N] of each group, and its bias.</summary>
    public required WeightGroup W { get; init; }

    /// <summary>The first row of each group, and at last the number of rows.</summary>
    public ReadOnlyMemory<int> Starts { get; init; }

    /// <summary>I32 [rows]: the weight of each row, where that is known to the device alone; <see cref="Starts"/> is then empty.</summary>
    public Tensor? Choice { get; init; }

    /// <summary>Applied after the bias.</summary>
    public Activation Activation { get; init; }

    /// <summary>[rows, N], multiplied after the activation; it may be Out.</summary>
    public Matrix? Multiply { get; init; }

    /// <summary>[rows, N].</summary>
    public required Matrix Out { get; init; }

    /// <summary>The product of a group.</summary>
    internal MatMul Of(int group) => Of(group, Starts.Span[group], Starts.Span[group + 1]);

    /// <summary>The product of some rows with the weight of a group.</summary>
    internal MatMul Of(int group, int start, int end)
    {
        Matrix Rows(Matrix all) => all with { Offset = all.Offset + start * all.Stride, Rows = end - start };
        return new MatMul
        {
            X = Rows(X),
            W = W.Weights[group],
            Bias = W.Biases?[group],
            Activation = Activation,
            Multiply = Multiply is { } multiply ? Rows(multiply) : default(Matrix?),
            Out = Rows(Out),
        };
    }

    internal void Check()
    {
        const string op = nameof(GroupedMatMul);
        X.Check(op, nameof(X), X.Rows, W.Weights[0].Inner);
        Out.Check(op, nameof(Out), X.Rows, W.Weights[0].Columns);
        Of(0, 0, X.Rows).Check();
        if (Choice is not null)
        {
            OpCheck.Indices(op, nameof(Choice), Choice, X.Rows);
        }

        ReadOnlySpan<int> starts = Starts.Span;
        bool divided = Choice is not null ? starts.IsEmpty : starts.Length == W.Weights.Count + 1 && starts[0] == 0 && starts[^1] == X.Rows;
        for (int group = 0; divided && group + 1 < starts.Length; group++)
        {
            divided = starts[group] <= starts[group + 1];
        }

        if (!divided)
        {
            throw new ArgumentException($"{op}: {X.Rows} rows are not divided among {W.Weights.Count} weights, or that and chosen.");
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="GroupedMatMul"/>.</summary>
    /// <exception cref="ArgumentException">The arguments do not fit together, or a row's weight is none of the group.</exception>
    public void Run(in GroupedMatMul op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="GroupedMatMul"/>: one product after the other, unless it has a better way; arguments are checked.</summary>
    protected virtual void Execute(in GroupedMatMul op)
    {
        if (op.Choice is null)
        {
            for (int group = 0; group < op.W.Weights.Count; group++)
            {
                if (op.Starts.Span[group + 1] > op.Starts.Span[group])
                {
                    Run(op.Of(group));
                }
            }

            return;
        }

        int[] chosen = op.Choice.ToArray<int>();
        for (int row = 0; row < chosen.Length; row++)
        {
            if ((uint)chosen[row] >= (uint)op.W.Weights.Count)
            {
                throw new ArgumentException($"{nameof(GroupedMatMul)}: row {row} has weight {chosen[row]} of {op.W.Weights.Count}.");
            }

            Run(op.Of(chosen[row], row, row + 1));
        }
    }
}
