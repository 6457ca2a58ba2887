namespace InterpEngine.Kernels;

/// <summary>
/// Looks rows up: <c>Out[t] = column ids[t] of the table</c>, exactly. The table is a weight [d, vocabulary], the same memory that a tied
/// unembedding multiplies by. A negative id is padding and gives zeros.
/// </summary>
public readonly record struct Embed
{
    /// <summary>I32, one for each token; negative or below the table's columns.</summary>
    public required Tensor Ids { get; init; }

    /// <summary>[d, vocabulary].</summary>
    public required Weight Table { get; init; }

    /// <summary>[tokens, d].</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        OpCheck.Indices(nameof(Embed), nameof(Ids), Ids, Out.Rows);
        Out.Check(nameof(Embed), nameof(Out), Out.Rows, Table.Inner);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Embed"/>.</summary>
    public void Run(in Embed op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="Embed"/>; arguments are checked.</summary>
    protected abstract void Execute(in Embed op);
}
