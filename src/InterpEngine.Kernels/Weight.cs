namespace InterpEngine.Kernels;

/// <summary>
/// A weight matrix [inner K, columns N] in the layout that its device's product wants. Made once, at load, straight from the mapped
/// file; the embedding look-up and the transposed product read the same memory.
/// </summary>
public abstract class Weight : IDisposable
{
    /// <summary>Creates the description.</summary>
    protected Weight(int inner, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(inner);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        Inner = inner;
        Columns = columns;
    }

    /// <summary>Inner length K of the product: inputs.</summary>
    public int Inner { get; }

    /// <summary>Columns N of the product: outputs.</summary>
    public int Columns { get; }

    /// <summary>Bytes of memory held.</summary>
    public abstract long Bytes { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the memory.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>
/// A rectangle of a matrix as a checkpoint stores it. Element (k, n), k counting inputs and n outputs, is the
/// <c>k × InnerStride + n × ColumnStride</c>-th element behind <see cref="Address"/> and goes to (<see cref="InnerStart"/> + k,
/// <see cref="ColumnStart"/> + n) of the weight. A torch Linear stores [outputs, inputs]: InnerStride is 1.
/// </summary>
/// <param name="Address">The first element, in host memory; it need not be aligned.</param>
/// <param name="Type">F32, F16, BF16 or F64.</param>
/// <param name="Inner">Inputs in the rectangle.</param>
/// <param name="Columns">Outputs in the rectangle.</param>
/// <param name="InnerStride">Elements from one input to the next.</param>
/// <param name="ColumnStride">Elements from one output to the next.</param>
/// <param name="InnerStart">Where the rectangle begins in the weight.</param>
/// <param name="ColumnStart">Where the rectangle begins in the weight.</param>
public readonly record struct WeightBlock(
    nint Address, ElementType Type, int Inner, int Columns, long InnerStride, long ColumnStride, int InnerStart = 0, int ColumnStart = 0)
{
    internal void Check(Weight weight)
    {
        if (Type is not (ElementType.F32 or ElementType.F16 or ElementType.BF16 or ElementType.F64))
        {
            throw new ArgumentException($"Weights are packed from floating-point numbers, not from {Type}.");
        }

        if (InnerStart < 0 || ColumnStart < 0 || Inner < 0 || Columns < 0
            || Inner > weight.Inner - InnerStart || Columns > weight.Columns - ColumnStart)
        {
            throw new ArgumentException(
                $"A block [{Inner}, {Columns}] at ({InnerStart}, {ColumnStart}) does not lie in a weight [{weight.Inner}, {weight.Columns}].");
        }
    }
}
