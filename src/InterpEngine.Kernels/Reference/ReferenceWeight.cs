using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Reference;

/// <summary>A weight as plain floats, one column after the other: the K elements of a column lie together.</summary>
internal sealed unsafe class ReferenceWeight : Weight
{
    private float* _elements;

    public ReferenceWeight(int inner, int columns)
        : base(inner, columns)
    {
        try
        {
            _elements = (float*)NativeMemory.AllocZeroed(checked((nuint)((long)inner * columns)), sizeof(float));
        }
        catch (OutOfMemoryException e)
        {
            throw new DeviceException(
                $"There is no memory for a weight [{inner}, {columns}] of {Bytes:N0} bytes.",
                "Use a smaller model or more memory.",
                e);
        }
    }

    ~ReferenceWeight() => Dispose(false);

    public override long Bytes => (long)Inner * Columns * sizeof(float);

    /// <summary>Elements [start, start + length) of a column.</summary>
    public Span<float> Column(int column, int start, int length)
    {
        ObjectDisposedException.ThrowIf(_elements is null, this);
        return new(_elements + (long)column * Inner + start, length);
    }

    public void Pack(in WeightBlock block)
    {
        block.Check(this);
        for (int n = 0; n < block.Columns; n++)
        {
            Span<float> column = Column(block.ColumnStart + n, block.InnerStart, block.Inner);
            for (int k = 0; k < block.Inner; k++)
            {
                byte* element = (byte*)block.Address + (k * block.InnerStride + n * block.ColumnStride) * block.Type.Size();
                column[k] = Widen(element, block.Type);
            }
        }
    }

    protected override void Dispose(bool disposing)
    {
        NativeMemory.Free(_elements);
        _elements = null;
    }

    private static float Widen(byte* element, ElementType type) => type switch
    {
        ElementType.F32 => Unsafe.ReadUnaligned<float>(element),
        ElementType.F16 => (float)Unsafe.ReadUnaligned<Half>(element),
        ElementType.BF16 => BitConverter.UInt32BitsToSingle((uint)Unsafe.ReadUnaligned<ushort>(element) << 16),
        _ => (float)Unsafe.ReadUnaligned<double>(element),
    };
}
