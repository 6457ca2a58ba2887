namespace InterpEngine.Kernels;

/// <summary>
/// The matrix product with its epilogue, in one pass over memory:
/// <c>acc = X·W; pre = acc + bias; delta = cap(act(pre) ⊙ multiply × scale); out = residual + delta</c>, or out's heads rotated.
/// </summary>
/// <remarks>
/// <para>Order of summation: on CPUs element (r, c) is one chain of fused multiply-adds from +0 over k = 0 … K−1, whatever the number of
/// rows, the tile or the thread.</para>
/// <para>With BF16 weights X is rounded to BF16 first, to the nearest, ties to even; products are exact and sums fp32. They are one chain
/// as above, or what the processor's instruction sums: <see cref="InstructionSet.Avx512Bf16"/> takes k in pairs,
/// <see cref="InstructionSet.Amx"/> in groups of 32, each from multiples of 32 of the weight's K, and both take subnormal numbers for zero.</para>
/// <para>With I8 weights X is rounded to integers too, group by group of the weight's K, by the weight's own rule (see
/// <see cref="Weight"/>). A group's sum is an exact integer; one chain acc = fma(sum, scale of X · scale of W, acc) leads along the groups.</para>
/// <para>Each step of the epilogue rounds once, in the order above, and steps that are not given are
/// skipped. So an epilogue gives the same bits as separate ops, and a stored <see cref="Pre"/> or <see cref="Delta"/> costs a store.</para>
/// <para><see cref="InnerStart"/> and <see cref="ColumnStart"/> select a rectangle of the weight: one head of an output or input
/// projection. Out may be Residual or Multiply; nothing else may overlap.</para>
/// </remarks>
public readonly record struct MatMul
{
    /// <summary>[rows, K], F32 or BF16.</summary>
    public required Matrix X { get; init; }

    /// <summary>[K, N], or a larger weight of which the rectangle at (InnerStart, ColumnStart) is used.</summary>
    public required Weight W { get; init; }

    /// <summary>[N] of this weight's rectangle, or none.</summary>
    public Tensor? Bias { get; init; }

    /// <summary>Applied after the bias.</summary>
    public Activation Activation { get; init; }

    /// <summary>[rows, N], multiplied after the activation: the other half of a gated MLP.</summary>
    public Matrix? Multiply { get; init; }

    /// <summary>Multiplies after that; 1 unless set.</summary>
    public float Scale { get; init; } = 1;

    /// <summary>c, where values are capped softly after that, <c>c·tanh(x/c)</c>; 0 for no cap.</summary>
    public float SoftCap { get; init; }

    /// <summary>[rows, N], added last.</summary>
    public Matrix? Residual { get; init; }

    /// <summary>How heads of Out are rotated, as <see cref="Kernels.Rotary"/> would in place; Out is then a whole tensor, and
    /// of all the steps only a bias may come before.</summary>
    public HeadRotation? Rotation { get; init; }

    /// <summary>[rows, N]: where the values before activation and rotation go, if anyone wants them.</summary>
    public Matrix? Pre { get; init; }

    /// <summary>[rows, N]: where the values before the residual go, if anyone wants them.</summary>
    public Matrix? Delta { get; init; }

    /// <summary>[rows, N], F32, or BF16 that is rounded to last.</summary>
    public required Matrix Out { get; init; }

    /// <summary>First row of the weight that is used.</summary>
    public int InnerStart { get; init; }

    /// <summary>First column of the weight that is used.</summary>
    public int ColumnStart { get; init; }

    /// <summary>Scale 1.</summary>
    public MatMul()
    {
    }

    /// <summary>The rotation as an op of its own.</summary>
    internal Rotary Rotary => Rotation!.Value.Of(Out.Tensor);

    internal void Check()
    {
        int rows = X.Rows, n = Out.Columns;
        X.Check(nameof(MatMul), nameof(X), rows, X.Columns, orNarrow: true);
        Out.Check(nameof(MatMul), nameof(Out), rows, n, orNarrow: Rotation is null);
        Multiply?.Check(nameof(MatMul), nameof(Multiply), rows, n);
        Residual?.Check(nameof(MatMul), nameof(Residual), rows, n);
        Pre?.Check(nameof(MatMul), nameof(Pre), rows, n);
        Delta?.Check(nameof(MatMul), nameof(Delta), rows, n);
        OpCheck.Vector(nameof(MatMul), nameof(Bias), Bias, n);
        if (InnerStart < 0 || ColumnStart < 0 || X.Columns > W.Inner - InnerStart || n > W.Columns - ColumnStart)
        {
            throw new ArgumentException(
                $"MatMul: a weight [{W.Inner}, {W.Columns}] has no [{X.Columns}, {n}] at ({InnerStart}, {ColumnStart}).");
        }

        if (!(SoftCap >= 0))
        {
            throw new ArgumentException($"MatMul: a soft cap of {SoftCap}; expected a positive one, or 0 for none.");
        }

        if (Rotation is { } rotation)
        {
            CheckRotation(rotation);
        }
    }

    private void CheckRotation(HeadRotation rotation)
    {
        bool plain = Activation == Activation.None && Scale == 1 && SoftCap == 0 && (Multiply ?? Residual ?? Delta) is null;
        bool whole = Out.Offset == 0 && Out.Stride == Out.Columns && Out.Tensor.Shape.Count == (long)Out.Rows * Out.Columns;
        if (!plain || !whole || ColumnStart != 0
            || Out.Tensor.Shape.Rank < 2 || Out.Columns != (long)Out.Tensor.Shape[^1] * Out.Tensor.Shape[^2] || rotation.Pairs == RotaryPairs.InterleavedToHalves)
        {
            throw new ArgumentException(
                "MatMul: only the heads of a plain projection are rotated, in place, in a whole tensor [tokens, heads, head size].");
        }

        rotation.Of(Out.Tensor).Check();
    }
}

/// <summary>
/// The product by the transpose, <c>Out = X·Wᵀ</c>: gradients and the directions of direct logit attribution.
/// </summary>
/// <remarks>
/// X stays fp32, whatever the weight's type. Order of summation: element (r, k) is summed over n in 16 lanes, lane n mod 16 being a chain of fused multiply-adds from +0, then
/// the tree of <see cref="Device"/>'s sums.
/// </remarks>
public readonly record struct MatMulTransposed
{
    /// <summary>[rows, N].</summary>
    public required Matrix X { get; init; }

    /// <summary>[K, N].</summary>
    public required Weight W { get; init; }

    /// <summary>[rows, K].</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        X.Check(nameof(MatMulTransposed), nameof(X), X.Rows, W.Columns);
        Out.Check(nameof(MatMulTransposed), nameof(Out), X.Rows, W.Inner);
    }
}

public abstract partial class Device
{
    /// <summary>How many products may run together.</summary>
    public const int MostProducts = 16;

    /// <summary>
    /// How many columns of an F32 matrix stay in a cache near the processor until another op reads them, where working in such parts is
    /// faster than having all at once.
    /// </summary>
    public virtual int ColumnsAtOnce(int rows) => int.MaxValue;

    /// <summary>Computes <see cref="MatMul"/>.</summary>
    public void Run(in MatMul op)
    {
        op.Check();
        if (!RunNarrow(in op))
        {
            Execute(in op);
        }
    }

    /// <summary>
    /// Computes products of one X, in their order: the same values as one by one, but X is read and prepared once. A later one may
    /// take an earlier one's Out for its Multiply or Residual.
    /// </summary>
    /// <param name="products">With equal X and InnerStart, and weights of one type.</param>
    /// <exception cref="ArgumentException">They do not share X.</exception>
    public void Run(params ReadOnlySpan<MatMul> products)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(products.Length, MostProducts, nameof(products));
        bool narrow = false;
        foreach (ref readonly MatMul op in products)
        {
            op.Check();
            if (op.X != products[0].X || op.InnerStart != products[0].InnerStart || op.W.Type != products[0].W.Type)
            {
                throw new ArgumentException("MatMul: products that run together have one X, one InnerStart and one type of weights.");
            }

            narrow |= (op.X.Tensor.Type, op.Out.Tensor.Type) != (ElementType.F32, ElementType.F32);
        }

        if (narrow && !KeepsNarrow)
        {
            foreach (ref readonly MatMul op in products)
            {
                Run(in op);
            }
        }
        else
        {
            Execute(products);
        }
    }

    /// <summary>Computes <see cref="MatMulTransposed"/>.</summary>
    public void Run(in MatMulTransposed op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="MatMul"/>; arguments are checked.</summary>
    protected abstract void Execute(in MatMul op);

    /// <summary>This device's products of one X; arguments are checked.</summary>
    protected virtual void Execute(ReadOnlySpan<MatMul> products)
    {
        foreach (ref readonly MatMul op in products)
        {
            Execute(in op);
        }
    }

    /// <summary>This device's <see cref="MatMulTransposed"/>; arguments are checked.</summary>
    protected abstract void Execute(in MatMulTransposed op);
}
