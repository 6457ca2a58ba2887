using System.Buffers.Binary;

namespace InterpEngine.Formats;

/// <summary>
/// A safetensors file, mapped into memory and checked whole before a tensor is seen: 8 bytes of header length, a JSON header
/// that gives each tensor's type, shape and bytes, and the data, in which every byte belongs to exactly one tensor.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    internal const string Truncated = "The file may have been cut short: download it again.";

    private SafetensorsFile(string path, MappedFile mapping)
    {
        Path = path;
        Mapping = mapping;
        try
        {
            int headerLength = ReadHeaderLength();
            byte[] header = mapping.Bytes(sizeof(ulong), headerLength).ToArray();
            (Tensors, Metadata) = SafetensorsHeader.Parse(this, header, sizeof(ulong) + headerLength);
        }
        catch (InvalidFileException) when (ForeignFile.Recognise(path, mapping) is { } foreign)
        {
            throw foreign;
        }
    }

    /// <summary>The path that was opened.</summary>
    public string Path { get; }

    /// <summary>The tensors by name; names compare by their exact characters.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors { get; }

    /// <summary>The file's own key-value texts; empty where it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    internal MappedFile Mapping { get; }

    /// <summary>Opens and checks a file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidFileException">It is missing, unreadable, broken, or no safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var mapping = MappedFile.Open(path);
        try
        {
            return new SafetensorsFile(path, mapping);
        }
        catch
        {
            mapping.Dispose();
            throw;
        }
    }

    /// <summary>Copies a range of the file, without mapping it.</summary>
    /// <param name="offset">First byte, from the beginning of the file, as <see cref="SafetensorsEntry.Offset"/>.</param>
    /// <param name="bytes">Filled whole.</param>
    /// <exception cref="InvalidFileException">It cannot be read, or the file has become shorter since it was opened.</exception>
    public void Read(long offset, Span<byte> bytes) => Mapping.Read(Path, offset, bytes);

    /// <summary>
    /// Says that a range is not needed for now, so that its pages stop counting as this process's memory. It stays readable.
    /// Does something on Linux only.
    /// </summary>
    /// <param name="offset">First byte, from the beginning of the file, as <see cref="SafetensorsEntry.Offset"/>.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the file.</exception>
    public void Release(long offset, long length) => Mapping.Release(offset, length);

    /// <summary>Asks the system to read a range ahead, in the background. A hint, on Linux only.</summary>
    /// <param name="offset">First byte, from the beginning of the file, as <see cref="SafetensorsEntry.Offset"/>.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the file.</exception>
    public void Prefetch(long offset, long length) => Mapping.Prefetch(offset, length);

    /// <summary>Unmaps the file; pointers and spans into it are dead from then on.</summary>
    public void Dispose() => Mapping.Dispose();

    private int ReadHeaderLength()
    {
        if (Mapping.Length < sizeof(ulong))
        {
            throw new InvalidFileException(
                Path, $"has {Mapping.Length} bytes; a safetensors file begins with 8 bytes of header length", Truncated);
        }

        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(Mapping.Bytes(0, sizeof(ulong)));
        if (length > SafetensorsHeader.MaxBytes)
        {
            throw new InvalidFileException(
                Path, $"the header length is {length}; at most {SafetensorsHeader.MaxBytes} is allowed");
        }

        if (length > (ulong)Mapping.Length - sizeof(ulong))
        {
            throw new InvalidFileException(
                Path, $"the header length is {length}, but only {Mapping.Length - sizeof(ulong)} bytes follow", Truncated);
        }

        return (int)length;
    }
}
