using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae;

/// <summary>Bytes that wait on disk, beside the file that they will be part of, until those before them are written.</summary>
internal sealed class Spool : IDisposable
{
    private const int Piece = 1 << 20;
    private readonly string _path;
    private readonly FileStream _file;

    /// <param name="target">The file that they will be part of.</param>
    /// <exception cref="FileWriteException">Its folder cannot be written.</exception>
    public Spool(string target)
    {
        _path = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(target))!, $".interp-{Guid.NewGuid():N}.tmp");
        _file = Guard(() => new FileStream(
            _path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, Piece, FileOptions.DeleteOnClose));
    }

    /// <summary>How many there are.</summary>
    public long Length => _file.Length;

    /// <summary>Adds bytes.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _file.Write(bytes);
        }
        catch (IOException e)
        {
            throw Error(e);
        }
    }

    /// <summary>Writes all of them as a tensor.</summary>
    public void MoveTo(SafetensorsWriter writer, string tensor)
    {
        _file.Position = 0;
        byte[] buffer = new byte[Piece];
        for (int read; (read = Guard(() => _file.Read(buffer))) > 0;)
        {
            writer.Write(tensor, buffer.AsSpan(0, read));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private T Guard<T>(Func<T> act)
    {
        try
        {
            return act();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Error(e);
        }
    }

    private FileWriteException Error(Exception e) => new(_path, $"could not be written ({e.Message})", "Is there room on the disk?", e);
}
