namespace InterpEngine.Kernels;

/// <summary>
/// A sparse matrix times a dense one: <c>Out[r] = start + Σ_e (Scale·value[e])·(M[column[e]] − offset)</c> over the entries e of row r. Decodes
/// features; by the transposed matrix (<see cref="SparseTranspose"/>) it is the gradient of a dictionary's rows.
/// </summary>
/// <remarks>Order of summation: one chain of fused multiply-adds for each element, from its start, in the order of the entries. Scaled values,
/// rows less the offset, and the bias less the target are each rounded once.</remarks>
public readonly record struct SparseProduct
{
    /// <summary>[rows, n].</summary>
    public required SparseRows S { get; init; }

    /// <summary>I32 or none: entry e has the value <c>S.Values[Order[e]]</c>, as a transposed matrix keeps them.</summary>
    public Tensor? Order { get; init; }

    /// <summary>Multiplies every value.</summary>
    public float Scale { get; init; } = 1;

    /// <summary>[n, columns].</summary>
    public required Matrix M { get; init; }

    /// <summary>[columns] or none: subtracted from every row of M.</summary>
    public Tensor? Offset { get; init; }

    /// <summary>[columns]: where every row's sum starts; none for +0. Not together with <see cref="Accumulate"/>.</summary>
    public Tensor? Bias { get; init; }

    /// <summary>[rows, columns] or none: subtracted from the start, so that Out is an error.</summary>
    public Matrix? Target { get; init; }

    /// <summary>Whether sums start at what Out holds.</summary>
    public bool Accumulate { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix Out { get; init; }

    /// <summary>As long as the entries of S at least, or none: <c>Out[r]·M[column[e]]</c> of each entry e of row r, as <see cref="SparseDots"/>
    /// computes it, while both are in the cache. Not with an order or an offset.</summary>
    public Tensor? Dots { get; init; }

    /// <summary>The usual settings.</summary>
    public SparseProduct()
    {
    }

    internal void Check()
    {
        const string op = nameof(SparseProduct);
        M.Check(op, nameof(M), S.Columns, M.Columns);
        Out.Check(op, nameof(Out), S.Rows, M.Columns);
        Target?.Check(op, nameof(Target), S.Rows, M.Columns);
        OpCheck.Vector(op, nameof(Offset), Offset, M.Columns);
        OpCheck.Vector(op, nameof(Bias), Bias, M.Columns);
        OpCheck.Vector(op, nameof(Dots), Dots, S.Capacity);
        if (Order is null)
        {
            S.Check(op, Out.Rows, M.Rows);
        }
        else
        {
            OpCheck.Indices(op, nameof(Order), Order, S.Indices.Shape.Count);
        }

        if (Accumulate && Bias is not null)
        {
            throw new ArgumentException($"{op}: sums start at a bias or at what Out holds, not at both.");
        }

        if (Dots is not null && (Order is not null || Offset is not null))
        {
            throw new ArgumentException($"{op}: dots are of entries as they are, and of the rows of M as they are.");
        }
    }
}

/// <summary>
/// Chosen entries of a product by a transpose: <c>Out[e] = X[r]·M[column[e]]</c> for every entry e of row r of a sparse matrix. The
/// gradient of a feature's value.
/// </summary>
/// <remarks>Order of summation: 16 lanes of fused multiply-adds, then the tree.</remarks>
public readonly record struct SparseDots
{
    /// <summary>[rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>[rows, n]: which entries. Its values are not read.</summary>
    public required SparseRows S { get; init; }

    /// <summary>[n, columns].</summary>
    public required Matrix M { get; init; }

    /// <summary>As long as the entries of S at least; may be its values.</summary>
    public required Tensor Out { get; init; }

    internal void Check()
    {
        const string op = nameof(SparseDots);
        X.Check(op, nameof(X), S.Rows, M.Columns);
        M.Check(op, nameof(M), S.Columns, M.Columns);
        S.Check(op, X.Rows, M.Rows);
        OpCheck.Vector(op, nameof(Out), Out, S.Capacity);
    }
}

/// <summary>
/// Transposes a sparse matrix: the entries by column, those of a column in the order of their rows. Values stay where they are: the
/// result's <see cref="Order"/> says where each one lies, so that one transposition serves several sets of values.
/// </summary>
public readonly record struct SparseTranspose
{
    /// <summary>[rows, n].</summary>
    public required SparseRows S { get; init; }

    /// <summary>I32 [n + 1].</summary>
    public required Tensor RowPointers { get; init; }

    /// <summary>I32, as long as S's: the row of each entry.</summary>
    public required Tensor Indices { get; init; }

    /// <summary>I32, as long as S's: where each entry stood in S.</summary>
    public required Tensor Order { get; init; }

    internal void Check()
    {
        const string op = nameof(SparseTranspose);
        S.Check(op, S.Rows, S.Columns);
        OpCheck.Indices(op, nameof(RowPointers), RowPointers, S.Columns + 1L);
        OpCheck.Indices(op, nameof(Indices), Indices, S.Capacity);
        OpCheck.Indices(op, nameof(Order), Order, S.Capacity);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="SparseProduct"/>.</summary>
    public void Run(in SparseProduct op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="SparseDots"/>.</summary>
    public void Run(in SparseDots op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="SparseTranspose"/>.</summary>
    public void Run(in SparseTranspose op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="SparseProduct"/>; arguments are checked.</summary>
    protected abstract void Execute(in SparseProduct op);

    /// <summary>This device's <see cref="SparseDots"/>; arguments are checked.</summary>
    protected abstract void Execute(in SparseDots op);

    /// <summary>This device's <see cref="SparseTranspose"/>; arguments are checked.</summary>
    protected abstract void Execute(in SparseTranspose op);
}
