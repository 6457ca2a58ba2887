using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using InterpEngine.Kernels;

namespace InterpEngine.Formats;

/// <summary>An array of a NumPy file, row-major and little-endian whatever the file had.</summary>
public sealed class NpyArray
{
    private const int MaxHeader = 1 << 16;

    private NpyArray(ElementType type, bool isBoolean, ImmutableArray<long> shape, byte[] data) =>
        (Type, IsBoolean, Shape, Data) = (type, isBoolean, shape, data);

    /// <summary>What one element is; unsigned and boolean bytes are both U8.</summary>
    public ElementType Type { get; }

    /// <summary>Whether the file says that its bytes are truth values.</summary>
    public bool IsBoolean { get; }

    /// <summary>The lengths of the axes, outermost first; empty for a scalar.</summary>
    public ImmutableArray<long> Shape { get; }

    /// <summary>The elements' bytes.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>Reads an .npy file. Bytes behind the array are none of its business.</summary>
    /// <exception cref="InvalidFileException">It is missing, broken, or holds anything but plain numbers.</exception>
    public static NpyArray Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Parse(InputFile.ReadAll(path, Array.MaxLength), path, exact: false);
    }

    /// <summary>A copy of all elements, in singles.</summary>
    /// <exception cref="InvalidFileException">They are no floating-point numbers.</exception>
    public float[] ToSingles(string path) => Type switch
    {
        ElementType.F32 => MemoryMarshal.Cast<byte, float>(Data.Span).ToArray(),
        ElementType.F64 => Array.ConvertAll(MemoryMarshal.Cast<byte, double>(Data.Span).ToArray(), x => (float)x),
        ElementType.F16 => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(Data.Span).ToArray(), x => (float)x),
        _ => throw new InvalidFileException(path, $"holds {Type}; expected floating-point numbers"),
    };

    /// <summary>Parses the bytes of an .npy file; with <paramref name="exact"/> the array must fill them.</summary>
    internal static NpyArray Parse(byte[] file, string path, bool exact)
    {
        ReadOnlySpan<byte> bytes = file;
        if (bytes.Length < 6 || bytes[0] != 0x93 || !bytes[1..6].SequenceEqual("NUMPY"u8))
        {
            throw new InvalidFileException(path, "is no .npy array: it does not begin with \\x93NUMPY");
        }

        (int major, int prefix) = bytes.Length >= 10 ? (bytes[6], bytes[6] == 1 ? 10 : 12) : (0, int.MaxValue);
        if (prefix > bytes.Length)
        {
            throw Early(path);
        }

        if (major is < 1 or > 3 || bytes[7] != 0)
        {
            throw new InvalidFileException(path, $"has format version {major}.{bytes[7]}; expected 1.0, 2.0 or 3.0");
        }

        long length = major == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        if (length > bytes.Length - prefix)
        {
            throw Early(path);
        }

        if (length > MaxHeader)
        {
            throw new InvalidFileException(path, $"has a header of {length} bytes; at most {MaxHeader} are read");
        }

        NpyHeader header = NpyHeader.Parse(bytes.Slice(prefix, (int)length), path);
        ReadOnlySpan<byte> data = bytes[(prefix + (int)length)..];
        if (header.Bytes > data.Length)
        {
            throw Early(path);
        }

        if (exact && header.Bytes != data.Length)
        {
            throw new InvalidFileException(path, $"has {data.Length - header.Bytes} bytes behind its array");
        }

        byte[] elements = data[..(int)header.Bytes].ToArray();
        if (header.BigEndian)
        {
            for (int i = 0; i < elements.Length; i += header.Size)
            {
                elements.AsSpan(i, header.Size).Reverse();
            }
        }

        if (header.FortranOrder)
        {
            elements = ToRowMajor(elements, header.Shape, header.Size);
        }

        return new NpyArray(header.Type, header.IsBoolean, header.Shape, elements);
    }

    private static byte[] ToRowMajor(byte[] columns, ImmutableArray<long> shape, int size)
    {
        byte[] rows = new byte[columns.Length];
        long[] index = new long[shape.Length];
        for (long to = 0; to < rows.Length; to += size)
        {
            long from = 0;
            for (int axis = shape.Length - 1; axis >= 0; axis--)
            {
                from = from * shape[axis] + index[axis];
            }

            columns.AsSpan((int)(from * size), size).CopyTo(rows.AsSpan((int)to));
            for (int axis = shape.Length - 1; axis >= 0 && ++index[axis] == shape[axis]; axis--)
            {
                index[axis] = 0;
            }
        }

        return rows;
    }

    private static InvalidFileException Early(string path) => new(path, "ends before its array does", SafetensorsFile.Truncated);
}
