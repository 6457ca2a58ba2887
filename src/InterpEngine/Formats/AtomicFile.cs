using System.Security;

namespace InterpEngine.Formats;

/// <summary>
/// A file that appears whole or not at all, even when the process is killed or the power fails: it is written under a
/// temporary name in the same folder, flushed to disk, renamed over the target, and the folder is flushed too. Whoever has
/// the old file open or mapped keeps the old one.
/// </summary>
internal sealed class AtomicFile : IDisposable
{
    /// <summary>Bytes after which the disk is set to work, so that little is left for <see cref="Commit"/> to wait for.</summary>
    private const long FlushBytes = 16 << 20;

    private readonly string _path;
    private readonly string _folder;
    private readonly string _temporary;
    private readonly FileStream _stream;
    private long _unflushed;
    private bool _closed;

    /// <summary>Begins a file that will stand at <paramref name="path"/> after <see cref="Commit"/>.</summary>
    /// <exception cref="FileWriteException">The folder does not exist or may not be written.</exception>
    public AtomicFile(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _path = path;
        (_folder, _temporary, _stream) = Guard(() =>
        {
            string full = Path.GetFullPath(path);
            string folder = Path.GetDirectoryName(full) ?? throw new IOException("a folder is no file");
            string temporary = Path.Combine(folder, $".interp-{Guid.NewGuid():N}.tmp");
            return (folder, temporary, new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None));
        });
    }

    /// <summary>Writes a whole file.</summary>
    /// <exception cref="FileWriteException">It could not be written; what stood at the path still does.</exception>
    public static void WriteAllBytes(string path, ReadOnlySpan<byte> bytes)
    {
        using var file = new AtomicFile(path);
        file.Write(bytes);
        file.Commit();
    }

    /// <summary>Appends bytes.</summary>
    /// <exception cref="FileWriteException">They could not be written.</exception>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        try
        {
            _stream.Write(bytes);
        }
        catch (Exception e) when (IsFileError(e))
        {
            throw Error(e);
        }
    }

    /// <summary>Writes bytes at a place of the file, in any order; not to be mixed with <see cref="Write"/>.</summary>
    /// <exception cref="FileWriteException">They could not be written.</exception>
    public void WriteAt(long offset, ReadOnlySpan<byte> bytes)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        try
        {
            RandomAccess.Write(_stream.SafeFileHandle, bytes, offset);
            if ((_unflushed += bytes.Length) >= FlushBytes && OperatingSystem.IsLinux())
            {
                Posix.BeginFlush(_stream.SafeFileHandle);
                _unflushed = 0;
            }
        }
        catch (Exception e) when (IsFileError(e))
        {
            throw Error(e);
        }
    }

    /// <summary>Makes the file stand at its path, on disk for good.</summary>
    /// <exception cref="FileWriteException">
    /// It could not be written, and what stood at the path still does; or the folder refused to be synced, and the new file
    /// stands there but may not outlive a power cut.
    /// </exception>
    public void Commit()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        Guard(() =>
        {
            // Flush() alone leaves the bytes with the operating system.
            _stream.Flush(flushToDisk: true);
            _stream.Dispose();
            File.Move(_temporary, _path, overwrite: true);
            _closed = true;
            if (!OperatingSystem.IsWindows())
            {
                Posix.FlushFolder(_folder);
            }

            return true;
        });
    }

    /// <summary>Gives up: unless committed, no trace remains.</summary>
    public void Dispose()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        try
        {
            _stream.Dispose();
        }
        catch (IOException)
        {
            // The last buffer did not fit on the disk; the file goes away anyhow.
        }

        try
        {
            File.Delete(_temporary);
        }
        catch (Exception e) when (IsFileError(e))
        {
            // Nothing better can be done, and the reason why we are here must not be hidden.
        }
    }

    private static bool IsFileError(Exception e) =>
        e is IOException or UnauthorizedAccessException or SecurityException or NotSupportedException;

    private T Guard<T>(Func<T> operation)
    {
        try
        {
            return operation();
        }
        catch (Exception e) when (IsFileError(e))
        {
            throw Error(e);
        }
    }

    private FileWriteException Error(Exception cause) => new(
        _path,
        $"could not be written ({cause.Message})",
        "Check that the folder exists, may be written and has space left.",
        cause);
}
