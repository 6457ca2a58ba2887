namespace InterpEngine.Kernels;

/// <summary>
/// Products of groups of rows, each group with a weight of its own: <c>out = act(X·W[g] + bias[g]) ⊙ multiply</c>, as the experts of a mixture
/// compute. The bits are those of a <see cref="MatMul"/> for each group.
/// </summary>
public readonly record struct GroupedMatMul
{
    /// <summary>[rows, K], group after group.</summary>
    public required Matrix X { get; init; }

    /// <summary>[K, N] of each group, all of one type.</summary>
    public required IReadOnlyList<Weight> W { get; init; }

    /// <summary>[N] of each group, or none.</summary>
    public IReadOnlyList<Tensor>? Bias { get; init; }

    /// <summary>The first row of each group, and at last the number of rows.</summary>
    public required ReadOnlyMemory<int> Starts { get; init; }

    /// <summary>Applied after the bias.</summary>
    public Activation Activation { get; init; }

    /// <summary>[rows, N], multiplied after the activation; it may be Out.</summary>
    public Matrix? Multiply { get; init; }

    /// <summary>[rows, N].</summary>
    public required Matrix Out { get; init; }

    /// <summary>The product of a group.</summary>
    internal MatMul Of(int group)
    {
        int start = Starts.Span[group], rows = Starts.Span[group + 1] - start;
        Matrix Rows(Matrix all) => all with { Offset = all.Offset + start * all.Stride, Rows = rows };
        return new MatMul
        {
            X = Rows(X),
            W = W[group],
            Bias = Bias?[group],
            Activation = Activation,
            Multiply = Multiply is { } multiply ? Rows(multiply) : default(Matrix?),
            Out = Rows(Out),
        };
    }

    internal void Check()
    {
        const string op = nameof(GroupedMatMul);
        ReadOnlySpan<int> starts = Starts.Span;
        bool rises = starts.Length == W.Count + 1 && starts[0] == 0 && starts[^1] == X.Rows;
        for (int group = 0; rises && group < W.Count; group++)
        {
            rises = starts[group] <= starts[group + 1] && W[group].Type == W[0].Type;
        }

        if (!rises || (Bias is not null && Bias.Count != W.Count))
        {
            throw new ArgumentException($"{op}: {X.Rows} rows are not divided among {W.Count} weights of one type, each with its bias or none.");
        }

        X.Check(op, nameof(X), X.Rows, X.Columns);
        Out.Check(op, nameof(Out), X.Rows, Out.Columns);
        for (int group = 0; group < W.Count; group++)
        {
            Of(group).Check();
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="GroupedMatMul"/>.</summary>
    public void Run(in GroupedMatMul op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="GroupedMatMul"/>: one product after the other, unless it has a better way; arguments are checked.</summary>
    protected virtual void Execute(in GroupedMatMul op)
    {
        for (int group = 0; group < op.W.Count; group++)
        {
            if (op.Starts.Span[group + 1] > op.Starts.Span[group])
            {
                Run(op.Of(group));
            }
        }
    }
}
