namespace InterpEngine.Formats;

/// <summary>A file is broken, hostile or of a kind that the engine does not read. Every reader throws this and nothing else.</summary>
public sealed class InvalidFileException : InterpException
{
    /// <summary>Creates the error; its message is "<paramref name="path"/>: <paramref name="defect"/>".</summary>
    /// <param name="path">The file.</param>
    /// <param name="defect">What is wrong in it, naming the tensor, field or byte offset, and what was expected.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public InvalidFileException(string path, string defect, string? hint = null, Exception? inner = null)
        : base($"{path}: {defect}", hint, inner)
    {
        Path = path;
        Defect = defect;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>What is wrong in it, without the file's name.</summary>
    public string Defect { get; }
}
