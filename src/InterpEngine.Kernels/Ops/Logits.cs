namespace InterpEngine.Kernels;

/// <summary>
/// The natural logarithm of the softmax of each row at chosen columns: <c>Out[r] = x[r, target] − max − ln Σ e^(x − max)</c>.
/// Its negative is the cross-entropy.
/// </summary>
/// <remarks>Order of summation: the sum runs in 16 lanes, lane c mod 16, then the tree.</remarks>
public readonly record struct LogProbability
{
    /// <summary>[rows, vocabulary].</summary>
    public required Matrix X { get; init; }

    /// <summary>I32 [rows], or [rows, n] for several columns of each row; a negative one gives 0.</summary>
    public required Tensor Targets { get; init; }

    /// <summary>[rows] or [rows, n], as <see cref="Targets"/>.</summary>
    public required Tensor Out { get; init; }

    /// <summary>Columns that are asked about in each row.</summary>
    internal int Count => X.Rows == 0 ? 0 : (int)(Targets.Shape.Count / X.Rows);

    internal void Check()
    {
        X.Check(nameof(LogProbability), nameof(X), X.Rows, X.Columns);
        OpCheck.Indices(nameof(LogProbability), nameof(Targets), Targets, (long)X.Rows * Count);
        OpCheck.Vector(nameof(LogProbability), nameof(Out), Out, X.Rows * Count);
    }
}

/// <summary>Every element of the logarithm of the softmax of each row; sums as in <see cref="LogProbability"/>.</summary>
public readonly record struct LogSoftmax
{
    /// <summary>[rows, vocabulary].</summary>
    public required Matrix X { get; init; }

    /// <summary>[rows, vocabulary]; may be X.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        X.Check(nameof(LogSoftmax), nameof(X), Out.Rows, Out.Columns);
        Out.Check(nameof(LogSoftmax), nameof(Out), Out.Rows, Out.Columns);
    }
}

/// <summary>
/// The k largest elements of each row, largest first; of equal ones the lower column first. NaN counts as larger than everything;
/// −0 equals +0.
/// </summary>
public readonly record struct TopK
{
    /// <summary>[rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>[rows, k], k at most columns.</summary>
    public required Tensor Values { get; init; }

    /// <summary>I32 [rows, k].</summary>
    public required Tensor Indices { get; init; }

    internal void Check()
    {
        X.Check(nameof(TopK), nameof(X), X.Rows, X.Columns);
        OpCheck.Indices(nameof(TopK), nameof(Indices), Indices, Values.Shape.Count);
        if (Values.Type != ElementType.F32 || Values.Shape.Rank != 2 || Values.Shape[0] != X.Rows || Values.Shape[1] > X.Columns)
        {
            throw new ArgumentException($"TopK: values {Values.Shape} do not fit X [{X.Rows}, {X.Columns}].");
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="LogProbability"/>.</summary>
    public void Run(in LogProbability op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="LogSoftmax"/>.</summary>
    public void Run(in LogSoftmax op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="TopK"/>.</summary>
    public void Run(in TopK op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="LogProbability"/>; arguments are checked.</summary>
    protected abstract void Execute(in LogProbability op);

    /// <summary>This device's <see cref="LogSoftmax"/>; arguments are checked.</summary>
    protected abstract void Execute(in LogSoftmax op);

    /// <summary>This device's <see cref="TopK"/>; arguments are checked.</summary>
    protected abstract void Execute(in TopK op);
}
