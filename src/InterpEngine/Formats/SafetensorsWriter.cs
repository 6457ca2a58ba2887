using System.Collections.Immutable;

namespace InterpEngine.Formats;

/// <summary>
/// Writes a safetensors file: first all names, types and shapes, then the data, tensor by tensor in that order and in pieces
/// of any size, so that nothing needs to be in memory whole. The file appears at its path, replacing what stood there, when
/// <see cref="Complete"/> has put it on disk for good; a writer disposed before leaves nothing.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private readonly ImmutableArray<SafetensorsDeclaration> _tensors;
    private readonly AtomicFile _file;
    private int _current;
    private long _written;

    /// <summary>Begins a file.</summary>
    /// <param name="path">Where it will stand.</param>
    /// <param name="tensors">What it will hold. The data begin at a multiple of 8; wider types first keep all aligned.</param>
    /// <param name="metadata">Key-value texts to store, or null.</param>
    /// <exception cref="ArgumentException">A name is given twice or unfit, or the header exceeds the format's limit.</exception>
    /// <exception cref="FileWriteException">The file cannot be created.</exception>
    public SafetensorsWriter(
        string path, IEnumerable<SafetensorsDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        _tensors = [.. tensors];
        byte[] header = SafetensorsHeader.Serialize(_tensors, metadata);
        _file = new AtomicFile(path);
        try
        {
            _file.Write(header);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Appends data of a tensor; little-endian, row-major.</summary>
    /// <param name="name">The tensor: the one begun, or the next one once that is full.</param>
    /// <param name="data">Its next bytes.</param>
    /// <exception cref="ArgumentException">It is not this tensor's turn, or these are more bytes than its shape has.</exception>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public void Write(string name, ReadOnlySpan<byte> data)
    {
        while (_current < _tensors.Length && _tensors[_current].Name != name && _written == _tensors[_current].Length)
        {
            _current++;
            _written = 0;
        }

        if (_current == _tensors.Length || _tensors[_current].Name != name)
        {
            string turn = _current == _tensors.Length ? "all tensors are written" : $"it is the turn of {Progress()}";
            throw new ArgumentException($"Tensor {InputFile.Quote(name)} cannot be written now: {turn}.", nameof(name));
        }

        if (data.Length > _tensors[_current].Length - _written)
        {
            throw new ArgumentException($"{data.Length} more bytes are too many for {Progress()}.", nameof(data));
        }

        _file.Write(data);
        _written += data.Length;
    }

    /// <summary>Puts the file in its place. Nothing can be written afterwards.</summary>
    /// <exception cref="InvalidOperationException">Data are missing.</exception>
    /// <exception cref="FileWriteException">The disk refused; the path holds the old file or the new one, whole.</exception>
    public void Complete()
    {
        for (; _current < _tensors.Length; _current++, _written = 0)
        {
            if (_written < _tensors[_current].Length)
            {
                throw new InvalidOperationException($"Data are missing for {Progress()}.");
            }
        }

        _file.Commit();
    }

    /// <summary>Ends the writing; unless completed, the unfinished file is removed.</summary>
    public void Dispose() => _file.Dispose();

    private string Progress() =>
        $"{InputFile.Quote(_tensors[_current].Name)}, of which {_written} of {_tensors[_current].Length} bytes are written";
}
