using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace InterpEngine.Formats;

/// <summary>A whole file mapped into memory for reading.</summary>
internal sealed unsafe class MappedFile : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly byte* _start;
    private bool _disposed;

    private MappedFile(SafeFileHandle handle)
    {
        _handle = handle;
        Length = RandomAccess.GetLength(handle);
        if (Length == 0)
        {
            return; // Nothing can be mapped.
        }

        _file = MemoryMappedFile.CreateFromFile(
            handle, null, Length, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        _view = _file.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>Bytes in the file.</summary>
    public long Length { get; }

    /// <summary>The first byte; valid until disposal.</summary>
    public byte* Start
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _start;
        }
    }

    /// <summary>Maps a file.</summary>
    /// <exception cref="InvalidFileException">It cannot be opened or mapped.</exception>
    public static MappedFile Open(string path)
    {
        SafeFileHandle handle = InputFile.Open(path);
        try
        {
            return InputFile.Guard(path, () => new MappedFile(handle));
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Copies a range, which must lie inside the file, by a call of the system rather than through the mapping.</summary>
    /// <exception cref="InvalidFileException">It cannot be read, or the file has become shorter.</exception>
    public void Read(string path, long offset, Span<byte> bytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        InputFile.Read(path, _handle, offset, bytes);
    }

    /// <summary>A range of the file, which must lie inside it.</summary>
    public ReadOnlySpan<byte> Bytes(long offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length - length);
        return new(Start + offset, length);
    }

    /// <summary>
    /// Drops whole pages inside a range from this process's memory. They stay readable: they come back from the file.
    /// Only Linux can do so for a mapping; elsewhere this does nothing.
    /// </summary>
    public void Release(long offset, long length) => Advise(offset, length, Posix.DontNeed);

    /// <summary>Asks the system to read a range ahead; a hint, on Linux only.</summary>
    public void Prefetch(long offset, long length) => Advise(offset, length, Posix.WillNeed);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _view?.SafeMemoryMappedViewHandle.ReleasePointer();
        _view?.Dispose();
        _file?.Dispose();
        _handle.Dispose();
    }

    private void Advise(long offset, long length, int advice)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        // Whole pages only: the neighbours' bytes on a shared page may still be in use.
        long page = Environment.SystemPageSize;
        long begin = (offset + page - 1) / page * page;
        long end = (offset + length) / page * page;
        if (end > begin)
        {
            _ = Posix.Advise(_start + begin, (nuint)(end - begin), advice);
        }
    }
}
