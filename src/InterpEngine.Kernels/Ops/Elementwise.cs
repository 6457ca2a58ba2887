namespace InterpEngine.Kernels;

/// <summary><c>Out = A + B</c>, one rounding each. Out may be A or B.</summary>
public readonly record struct Add
{
    /// <summary>[rows, columns].</summary>
    public required Matrix A { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix B { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        A.Check(nameof(Add), nameof(A), Out.Rows, Out.Columns);
        B.Check(nameof(Add), nameof(B), Out.Rows, Out.Columns);
        Out.Check(nameof(Add), nameof(Out), Out.Rows, Out.Columns);
    }
}

/// <summary><c>Out = act(X) ⊙ multiply</c>: what a product's epilogue does, with the same bits, where an intervention split it.</summary>
public readonly record struct Activate
{
    /// <summary>[rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>The non-linearity.</summary>
    public required Activation Activation { get; init; }

    /// <summary>[rows, columns] or none.</summary>
    public Matrix? Multiply { get; init; }

    /// <summary>[rows, columns], F32, or BF16 that is rounded to last; may be X or Multiply.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        X.Check(nameof(Activate), nameof(X), Out.Rows, Out.Columns);
        Multiply?.Check(nameof(Activate), nameof(Multiply), Out.Rows, Out.Columns);
        Out.Check(nameof(Activate), nameof(Out), Out.Rows, Out.Columns, orNarrow: true);
    }
}

/// <summary>What <see cref="Map"/> does to a value x, given a parameter p.</summary>
public enum MapKind
{
    /// <summary>x·p.</summary>
    Scale,

    /// <summary>p·tanh(x/p): a soft cap, which keeps x in (−p, p).</summary>
    SoftCap,

    /// <summary>x, but at least −p and at most p. NaN gives NaN.</summary>
    Clamp,
}

/// <summary>A function of one parameter at every element: <c>Out = f(X, p)</c>, each operation rounding once.</summary>
public readonly record struct Map
{
    /// <summary>[rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>Which function.</summary>
    public required MapKind Kind { get; init; }

    /// <summary>p; positive for a cap and for a clamp.</summary>
    public required float Parameter { get; init; }

    /// <summary>[rows, columns]; may be X.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        X.Check(nameof(Map), nameof(X), Out.Rows, Out.Columns);
        Out.Check(nameof(Map), nameof(Out), Out.Rows, Out.Columns);
        if (Kind != MapKind.Scale && !(Parameter > 0))
        {
            throw new ArgumentException($"Map: a parameter of {Parameter}; {Kind} needs a positive one.");
        }
    }
}

/// <summary>
/// Copies rows from one place to another: into a key/value cache, or a slice of positions out of a tensor. Exactly, but for F32 that
/// becomes BF16, which is rounded to the nearest, ties to even.
/// </summary>
public readonly record struct Copy
{
    /// <summary>[rows, columns], F32 or BF16.</summary>
    public required Matrix From { get; init; }

    /// <summary>[rows, columns], F32 or BF16; must not overlap From.</summary>
    public required Matrix To { get; init; }

    internal void Check()
    {
        From.Check(nameof(Copy), nameof(From), To.Rows, To.Columns, orNarrow: true);
        To.Check(nameof(Copy), nameof(To), To.Rows, To.Columns, orNarrow: true);
    }
}

/// <summary>
/// Copies tokens' keys and values to where a cache goes on: <c>KeyCache[b, at + i] = Keys[b, i]</c>, and so for values. Tokens that do not
/// fit are an <see cref="ArgumentException"/>, on a GPU when results are read next, and are not written.
/// </summary>
public readonly record struct Append
{
    /// <summary>[batch, tokens, …].</summary>
    public required Tensor Keys { get; init; }

    /// <summary>[batch, tokens, …].</summary>
    public required Tensor Values { get; init; }

    /// <summary>[batch, capacity, …].</summary>
    public required Tensor KeyCache { get; init; }

    /// <summary>[batch, capacity, …].</summary>
    public required Tensor ValueCache { get; init; }

    /// <summary>I32 [1]: the first token's place.</summary>
    public required Tensor At { get; init; }

    internal int Batch => Keys.Shape[0];

    internal int Tokens => Keys.Shape[1];

    internal int Capacity => KeyCache.Shape[1];

    /// <summary>Elements of a token.</summary>
    internal static int Width(Tensor tokens) => tokens.Shape.Axes[2..].ToArray().Aggregate(1, (product, axis) => checked(product * axis));

    internal void Check()
    {
        Check(Keys, KeyCache);
        Check(Values, ValueCache);
        if (Values.Shape[0] != Batch || Values.Shape[1] != Tokens || ValueCache.Shape[1] != Capacity)
        {
            throw new ArgumentException($"Append: values {Values.Shape} in {ValueCache.Shape} do not fit keys {Keys.Shape} in {KeyCache.Shape}.");
        }

        OpCheck.Indices(nameof(Append), nameof(At), At, 1);
    }

    private static void Check(Tensor from, Tensor to)
    {
        bool fits = from.Shape.Rank >= 2 && from.Shape.Rank == to.Shape.Rank && from.Shape[0] == to.Shape[0]
            && from.Shape.Axes[2..].SequenceEqual(to.Shape.Axes[2..]) && (from.Type, to.Type) == (ElementType.F32, ElementType.F32);
        if (!fits)
        {
            throw new ArgumentException($"Append: {from.Type} {from.Shape} has no place in {to.Type} {to.Shape}.");
        }
    }
}

/// <summary>Sets every element to a value.</summary>
public readonly record struct Fill
{
    /// <summary>[rows, columns].</summary>
    public required Matrix Out { get; init; }

    /// <summary>The value.</summary>
    public required float Value { get; init; }

    internal void Check() => Out.Check(nameof(Fill), nameof(Out), Out.Rows, Out.Columns);
}

/// <summary>Repeats each row for every head: <c>Out[t, h] = X[t]</c>.</summary>
public readonly record struct RepeatHeads
{
    /// <summary>[tokens, d].</summary>
    public required Matrix X { get; init; }

    /// <summary>[tokens, heads, d], axes before heads taken together.</summary>
    public required Tensor Out { get; init; }

    internal void Check() => OpCheck.Heads(nameof(RepeatHeads), Out, X);
}

/// <summary>Sums over heads: <c>Out[t] = Σₕ X[t, h] + bias</c>, a chain of sums from head 0 on, the bias last.</summary>
public readonly record struct SumHeads
{
    /// <summary>[tokens, heads, d], axes before heads taken together.</summary>
    public required Tensor X { get; init; }

    /// <summary>[d] or none.</summary>
    public Tensor? Bias { get; init; }

    /// <summary>[tokens, d].</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        OpCheck.Heads(nameof(SumHeads), X, Out);
        OpCheck.Vector(nameof(SumHeads), nameof(Bias), Bias, Out.Columns);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Add"/>.</summary>
    public void Run(in Add op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="Activate"/>.</summary>
    public void Run(in Activate op)
    {
        op.Check();
        if (!RunNarrow(in op))
        {
            Execute(in op);
        }
    }

    /// <summary>Computes <see cref="Map"/>.</summary>
    public void Run(in Map op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="Copy"/>.</summary>
    public void Run(in Copy op)
    {
        op.Check();
        if (!RunNarrow(in op))
        {
            Execute(in op);
        }
    }

    /// <summary>Computes <see cref="Append"/>.</summary>
    public void Run(in Append op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="Fill"/>.</summary>
    public void Run(in Fill op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="RepeatHeads"/>.</summary>
    public void Run(in RepeatHeads op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="SumHeads"/>.</summary>
    public void Run(in SumHeads op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="Add"/>; arguments are checked.</summary>
    protected abstract void Execute(in Add op);

    /// <summary>This device's <see cref="Activate"/>; arguments are checked.</summary>
    protected abstract void Execute(in Activate op);

    /// <summary>This device's <see cref="Map"/>; arguments are checked.</summary>
    protected abstract void Execute(in Map op);

    /// <summary>This device's <see cref="Copy"/>; arguments are checked.</summary>
    protected abstract void Execute(in Copy op);

    /// <summary>This device's <see cref="Append"/>; arguments are checked.</summary>
    protected abstract void Execute(in Append op);

    /// <summary>This device's <see cref="Fill"/>; arguments are checked.</summary>
    protected abstract void Execute(in Fill op);

    /// <summary>This device's <see cref="RepeatHeads"/>; arguments are checked.</summary>
    protected abstract void Execute(in RepeatHeads op);

    /// <summary>This device's <see cref="SumHeads"/>; arguments are checked.</summary>
    protected abstract void Execute(in SumHeads op);
}
