namespace InterpEngine.Kernels;

/// <summary>
/// A weight matrix [inner K, columns N] in the layout that its device's product wants. Made once, at load, piece by piece as the
/// file is read; the embedding look-up and the transposed product read the same memory.
/// </summary>
/// <remarks>
/// <para>F32 keeps checkpoint values exactly (F64 rounded once). BF16 rounds them to the nearest BF16, ties to even; a BF16 checkpoint
/// stays what it is in half the memory.</para>
/// <para>I8 takes 0.28 of F32's memory. The weight is cut along K into groups of 32 that begin at multiples of 32; in each column of a
/// group an element w becomes round(w / s), ties to even, with s = largest |w| / 127; its value is that integer times s. A group that is
/// not finite is NaN, one below 2⁻¹⁰⁰ zero.</para>
/// </remarks>
public abstract class Weight : IDisposable
{
    /// <summary>Elements of a group of an I8 weight along K.</summary>
    public const int GroupSize = 32;

    /// <summary>Creates the description.</summary>
    /// <exception cref="ArgumentException">The type is none of F32, BF16 and I8.</exception>
    protected Weight(ElementType type, int inner, int columns)
    {
        if (type is not (ElementType.F32 or ElementType.BF16 or ElementType.I8))
        {
            throw new ArgumentException($"Weights are kept as F32, BF16 or I8, not as {type}.", nameof(type));
        }

        ArgumentOutOfRangeException.ThrowIfNegative(inner);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        Type = type;
        Inner = inner;
        Columns = columns;
    }

    /// <summary>How its elements are kept: F32, BF16 or I8.</summary>
    public ElementType Type { get; }

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
    /// <summary>Whether the calling thread packs it alone: other threads are packing other blocks. It should lie in the cache.</summary>
    public bool Alone { get; init; }

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

        int end = InnerStart + Inner;
        if (weight.Type == ElementType.I8
            && (InnerStart % Weight.GroupSize != 0 || (end % Weight.GroupSize != 0 && end != weight.Inner)))
        {
            throw new ArgumentException(
                $"A block of an I8 weight holds whole groups of {Weight.GroupSize} along K; not {InnerStart} to {end} of {weight.Inner}.");
        }
    }
}
