using System.Buffers.Binary;
using System.Collections.Immutable;
using InterpEngine.Kernels;

namespace InterpEngine.Formats;

/// <summary>One tensor of an open safetensors file: row-major, little-endian, not necessarily aligned.</summary>
public sealed unsafe class SafetensorsEntry
{
    internal SafetensorsEntry(
        SafetensorsFile file, string name, SafetensorsType type, ImmutableArray<long> shape, long offset, long length)
    {
        File = file;
        Name = name;
        Type = type;
        Shape = shape;
        Offset = offset;
        Length = length;
    }

    /// <summary>The file that holds it, and that must stay open while its bytes are used.</summary>
    public SafetensorsFile File { get; }

    /// <summary>Its name: any text at all, and never a path.</summary>
    public string Name { get; }

    /// <summary>What one element is.</summary>
    public SafetensorsType Type { get; }

    /// <summary>The lengths of its axes, outermost first; empty for a scalar.</summary>
    public ImmutableArray<long> Shape { get; }

    /// <summary>Where its first byte lies, from the beginning of the file.</summary>
    public long Offset { get; }

    /// <summary>Its bytes.</summary>
    public long Length { get; }

    /// <summary>Its elements.</summary>
    public long Count => (long)((UInt128)(ulong)Length * 8 / (ulong)Type.Bits());

    /// <summary>The first byte, valid while the file is open.</summary>
    /// <exception cref="ObjectDisposedException">The file is closed.</exception>
    public byte* Pointer => File.Mapping.Start + Offset;

    /// <summary>All bytes, valid while the file is open.</summary>
    /// <exception cref="InvalidOperationException">There are 2 GiB or more: use <see cref="Pointer"/>.</exception>
    /// <exception cref="ObjectDisposedException">The file is closed.</exception>
    public ReadOnlySpan<byte> Bytes => Length <= int.MaxValue
        ? new(Pointer, (int)Length)
        : throw new InvalidOperationException($"Tensor {InputFile.Quote(Name)} has {Length} bytes, too many for one span.");

    /// <summary>The engine's type with the same bits.</summary>
    /// <exception cref="InvalidFileException">The engine has none.</exception>
    public ElementType ElementType => Type.ToElementType()
        ?? throw Defect($"has type {Type}, which the engine does not compute with");

    /// <summary>A copy of all elements, in singles.</summary>
    /// <exception cref="InvalidFileException">They are not F64, F32, F16 or BF16, or too many for an array.</exception>
    public float[] ToSingles() => ToSingles(0, Whole());

    /// <summary>A copy of some elements, in singles.</summary>
    /// <param name="first">The first of them, in row-major order.</param>
    /// <param name="count">How many.</param>
    /// <exception cref="InvalidFileException">They are not F64, F32, F16 or BF16.</exception>
    public float[] ToSingles(long first, int count) => Type switch
    {
        SafetensorsType.F32 => Convert(BinaryPrimitives.ReadSingleLittleEndian, first, count),
        SafetensorsType.F64 => Convert(element => (float)BinaryPrimitives.ReadDoubleLittleEndian(element), first, count),
        SafetensorsType.F16 => Convert(element => (float)BinaryPrimitives.ReadHalfLittleEndian(element), first, count),
        SafetensorsType.BF16 => Convert(
            element => BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt16LittleEndian(element) << 16), first, count),
        _ => throw Defect($"has type {Type}; expected F64, F32, F16 or BF16"),
    };

    /// <summary>A copy of all elements, in 64-bit integers.</summary>
    /// <exception cref="InvalidFileException">They are no integers, exceed 2⁶³ − 1, or are too many for an array.</exception>
    public long[] ToIntegers() => Type switch
    {
        SafetensorsType.I64 => Convert(BinaryPrimitives.ReadInt64LittleEndian),
        SafetensorsType.I32 => Convert(element => (long)BinaryPrimitives.ReadInt32LittleEndian(element)),
        SafetensorsType.I16 => Convert(element => (long)BinaryPrimitives.ReadInt16LittleEndian(element)),
        SafetensorsType.I8 => Convert(element => (long)(sbyte)element[0]),
        SafetensorsType.U64 => Convert(element =>
            BinaryPrimitives.ReadUInt64LittleEndian(element) is <= long.MaxValue and ulong value
                ? (long)value
                : throw Defect("holds a number over 2⁶³ − 1")),
        SafetensorsType.U32 => Convert(element => (long)BinaryPrimitives.ReadUInt32LittleEndian(element)),
        SafetensorsType.U16 => Convert(element => (long)BinaryPrimitives.ReadUInt16LittleEndian(element)),
        SafetensorsType.U8 => Convert(element => (long)element[0]),
        SafetensorsType.BOOL => Convert(element => element[0] == 0 ? 0L : 1L),
        _ => throw Defect($"has type {Type}; expected integers"),
    };

    /// <summary>Name, type and shape, such as <c>'wte.weight' F32 [50257, 768]</c>.</summary>
    public override string ToString() => $"{InputFile.Quote(Name)} {Type} [{string.Join(", ", Shape)}]";

    private T[] Convert<T>(Func<ReadOnlySpan<byte>, T> read) => Convert(read, 0, Whole());

    private T[] Convert<T>(Func<ReadOnlySpan<byte>, T> read, long first, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, Count - count);
        int size = Type.Bits() / 8;
        var values = new T[count];
        var buffer = new byte[Math.Min(count, 8192) * size];
        for (int done = 0; done < count;)
        {
            Span<byte> bytes = buffer.AsSpan(0, Math.Min(count - done, 8192) * size);
            File.Read(Offset + (first + done) * size, bytes);
            for (; bytes.Length > 0; bytes = bytes[size..])
            {
                values[done++] = read(bytes[..size]);
            }
        }

        return values;
    }

    private int Whole() => Count <= Array.MaxLength ? (int)Count : throw Defect($"has {Count} elements, too many for an array");

    private InvalidFileException Defect(string defect) => new(File.Path, $"tensor {InputFile.Quote(Name)} {defect}");
}
