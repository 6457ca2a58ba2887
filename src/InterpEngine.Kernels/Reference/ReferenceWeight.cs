using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Reference;

/// <summary>A weight as plain floats, one column after the other: the K elements of a column lie together. Values are those that its
/// type keeps; an I8 weight has the scales of its groups beside them.</summary>
internal sealed unsafe class ReferenceWeight : Weight
{
    private readonly float[] _scales;
    private float* _elements;

    public ReferenceWeight(ElementType type, int inner, int columns)
        : base(type, inner, columns)
    {
        try
        {
            _elements = (float*)NativeMemory.AllocZeroed(checked((nuint)((long)inner * columns)), sizeof(float));
            _scales = type == ElementType.I8 ? new float[(long)columns * GroupCount] : [];
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

    private int GroupCount => (int)((Inner + (GroupSize - 1L)) / GroupSize);

    /// <summary>Elements [start, start + length) of a column.</summary>
    public Span<float> Column(int column, int start, int length)
    {
        ObjectDisposedException.ThrowIf(_elements is null, this);
        return new(_elements + (long)column * Inner + start, length);
    }

    /// <summary>The scale of one group of a column of an I8 weight.</summary>
    public float Scale(int column, int group) => _scales[(long)column * GroupCount + group];

    public void Pack(in WeightBlock block)
    {
        block.Check(this);
        for (int n = 0; n < block.Columns; n++)
        {
            Span<float> column = Column(block.ColumnStart + n, block.InnerStart, block.Inner);
            for (int k = 0; k < block.Inner; k++)
            {
                byte* element = (byte*)block.Address + (k * block.InnerStride + n * block.ColumnStride) * block.Type.Size();
                float value = Widen(element, block.Type);
                column[k] = Type == ElementType.BF16 ? LowPrecision.RoundToBFloat16(value) : value;
            }

            for (int k = 0; Type == ElementType.I8 && k < block.Inner; k += GroupSize)
            {
                Span<float> group = column[k..Math.Min(k + GroupSize, block.Inner)];
                float scale = LowPrecision.Quantize(group, group);
                foreach (ref float value in group)
                {
                    value *= scale;
                }

                _scales[(long)(block.ColumnStart + n) * GroupCount + (block.InnerStart + k) / GroupSize] = scale;
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
