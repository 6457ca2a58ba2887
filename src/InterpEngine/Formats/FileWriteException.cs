namespace InterpEngine.Formats;

/// <summary>
/// A file could not be written: no space, no permission, no such folder. The path holds the old file or the new one, whole.
/// </summary>
public sealed class FileWriteException : InterpException
{
    /// <summary>Creates the error; its message is "<paramref name="path"/>: <paramref name="defect"/>".</summary>
    /// <param name="path">The file that was to be written.</param>
    /// <param name="defect">What went wrong.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public FileWriteException(string path, string defect, string? hint = null, Exception? inner = null)
        : base($"{path}: {defect}", hint, inner) => Path = path;

    /// <summary>The file that was to be written.</summary>
    public string Path { get; }
}
