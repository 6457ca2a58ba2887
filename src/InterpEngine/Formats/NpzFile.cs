using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace InterpEngine.Formats;

/// <summary>
/// An .npz archive of arrays: a zip file of .npy members, stored or deflated, of which everything is checked: both headers of a member,
/// its size, its checksum, and that the array fills it.
/// </summary>
public sealed class NpzFile
{
    private const uint LocalSignature = 0x04034b50, CentralSignature = 0x02014b50, EndSignature = 0x06054b50;
    private const int LocalLength = 30, CentralLength = 46, EndLength = 22, MaxComment = ushort.MaxValue;

    // Deflate cannot do better than 1032 : 1.
    private const long LargestRatio = 1032;

    private static readonly uint[] s_crcTable = MakeCrcTable();
    private readonly string _path;
    private readonly Dictionary<string, NpyArray> _arrays = new(StringComparer.Ordinal);

    private NpzFile(string path) => _path = path;

    /// <summary>The arrays by name, that is, the members' names without ".npy".</summary>
    public IReadOnlyDictionary<string, NpyArray> Arrays => _arrays;

    /// <summary>Reads a file whole.</summary>
    /// <exception cref="InvalidFileException">It is missing, broken, or no archive of plain arrays.</exception>
    public static NpzFile Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var mapping = MappedFile.Open(path);
        var file = new NpzFile(path);
        file.Read(mapping);
        return file;
    }

    /// <summary>An array in singles.</summary>
    /// <exception cref="InvalidFileException">There is none of the name, or it holds no floating-point numbers.</exception>
    public (float[] Values, long[] Shape) Singles(string name) => _arrays.TryGetValue(name, out NpyArray? array)
        ? (array.ToSingles($"{_path}/{name}.npy"), [.. array.Shape])
        : throw new InvalidFileException(_path, $"has no array {InputFile.Quote(name)}");

    private void Read(MappedFile mapping)
    {
        (int count, long at) = FindDirectory(mapping);
        long end = mapping.Length;
        long expected = 0;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = Bytes(mapping, at, CentralLength);
            Require(U32(entry, 0) == CentralSignature, "has a broken directory");
            int nameLength = U16(entry, 28), extra = U16(entry, 30), comment = U16(entry, 32);
            var member = new Member(U16(entry, 8), U16(entry, 10), U32(entry, 16), U32(entry, 20), U32(entry, 24), U32(entry, 42));
            byte[] name = Bytes(mapping, at + CentralLength, nameLength).ToArray();
            Require(member.Offset == expected, "has bytes that belong to no member, or members that share some");
            expected = Add(mapping, member, name);
            at += CentralLength + nameLength + extra + comment;
        }

        Require(at <= end && expected == FindDirectory(mapping).At, "has bytes that belong to no member");
    }

    private (int Count, long At) FindDirectory(MappedFile mapping)
    {
        for (long at = mapping.Length - EndLength; at >= 0 && at >= mapping.Length - EndLength - MaxComment; at--)
        {
            ReadOnlySpan<byte> end = mapping.Bytes(at, EndLength);
            if (U32(end, 0) != EndSignature || at + EndLength + U16(end, 20) != mapping.Length)
            {
                continue;
            }

            uint size = U32(end, 12), offset = U32(end, 16);
            Require(offset != uint.MaxValue && U16(end, 10) != ushort.MaxValue, "is larger than 4 GiB, which is not read as .npz");
            Require(U16(end, 4) == 0 && U16(end, 6) == 0 && U16(end, 8) == U16(end, 10), "is a part of a split archive");
            Require((long)offset + size == at, "has a directory that does not lie where its end says");
            return (U16(end, 10), offset);
        }

        throw new InvalidFileException(_path, "is no .npz archive: it has no zip directory", SafetensorsFile.Truncated);
    }

    /// <summary>Reads a member; returns where it ends.</summary>
    private long Add(MappedFile mapping, Member member, byte[] name)
    {
        ReadOnlySpan<byte> local = Bytes(mapping, member.Offset, LocalLength);
        int extra = U16(local, 28);
        long start = member.Offset + LocalLength + name.Length + extra;
        string text = Encoding.UTF8.GetString(name);
        string shown = InputFile.Quote(text);
        Require(U32(local, 0) == LocalSignature && U16(local, 26) == name.Length
            && Bytes(mapping, member.Offset + LocalLength, name.Length).SequenceEqual(name), $"has another name for {shown} at its data");
        Require((member.Flags & 1) == 0 && (U16(local, 6) & 1) == 0, $"has {shown} encrypted");
        Require(U16(local, 8) == member.Method && member.Method is 0 or 8, $"has {shown} compressed in a way other than deflate");
        bool described = (U16(local, 6) & 8) != 0; // sizes follow the data
        Require(!described, $"has {shown} written as a stream, whose size is not in front");
        bool large = U32(local, 18) == uint.MaxValue && U32(local, 22) == uint.MaxValue; // numpy always leaves room for 64 bits
        ReadOnlySpan<byte> more = Bytes(mapping, member.Offset + LocalLength + name.Length, extra);
        (ulong size, ulong packed) = !large ? (U32(local, 22), U32(local, 18))
            : more.Length >= 20 && U16(more, 0) == 1 && U16(more, 2) >= 16
            ? (BinaryPrimitives.ReadUInt64LittleEndian(more[4..]), BinaryPrimitives.ReadUInt64LittleEndian(more[12..]))
            : throw new InvalidFileException(_path, $"does not say how large {shown} is");
        Require(size == member.Size && packed == member.Packed && U32(local, 14) == member.Crc, $"has two sizes or checksums for {shown}");
        Require(start + member.Packed <= mapping.Length, $"ends before the data of {shown}");
        Require(member.Method == 0 ? size == packed : size <= packed * LargestRatio, $"says that {shown} is larger than its data can be");
        Require(size <= (ulong)Array.MaxLength, $"has {size} bytes in {shown}; at most {Array.MaxLength} are read");
        byte[] bytes = member.Method == 0 ? Bytes(mapping, start, (int)member.Packed).ToArray() : Inflate(mapping, start, member, shown);
        Require(Crc(bytes) == member.Crc, $"has a wrong checksum for {shown}");
        string key = text.EndsWith(".npy", StringComparison.Ordinal) ? text[..^4] : text;
        Require(_arrays.TryAdd(key, NpyArray.Parse(bytes, $"{_path}/{text}", exact: true)), $"has {shown} twice");
        return start + member.Packed;
    }

    private unsafe byte[] Inflate(MappedFile mapping, long start, Member member, string shown)
    {
        byte[] bytes = new byte[member.Size];
        try
        {
            using var packed = new UnmanagedMemoryStream(mapping.Start + start, member.Packed);
            using var stream = new DeflateStream(packed, CompressionMode.Decompress);
            stream.ReadExactly(bytes);
            Require(stream.ReadByte() < 0, $"has more data in {shown} than it says");
            return bytes;
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
        {
            throw new InvalidFileException(_path, $"cannot be inflated at {shown}", SafetensorsFile.Truncated, e);
        }
    }

    private ReadOnlySpan<byte> Bytes(MappedFile mapping, long at, int length)
    {
        Require(at >= 0 && at <= mapping.Length - length, "ends before its members do");
        return mapping.Bytes(at, length);
    }

    private void Require(bool condition, string defect)
    {
        if (!condition)
        {
            throw new InvalidFileException(_path, defect);
        }
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes)
        {
            crc = s_crcTable[(byte)(crc ^ b)] ^ (crc >> 8);
        }

        return ~crc;
    }

    private static uint[] MakeCrcTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < table.Length; i++)
        {
            uint crc = i;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320u : crc >> 1;
            }

            table[i] = crc;
        }

        return table;
    }

    /// <summary>A member as the directory has it.</summary>
    private readonly record struct Member(int Flags, int Method, uint Crc, uint Packed, uint Size, uint Offset);
}
