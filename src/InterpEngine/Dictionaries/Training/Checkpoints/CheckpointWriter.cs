using System.Globalization;
using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Collects the state of a training run: tensors, and numbers that stand beside them as text. Each part of the run has names of its
/// own.</summary>
public sealed class CheckpointWriter
{
    /// <summary>Elements written at a time.</summary>
    private const int Piece = 1 << 20;

    private readonly string _scope;
    private readonly List<(SafetensorsDeclaration Tensor, Action<SafetensorsWriter> Write)> _tensors;
    private readonly Dictionary<string, string> _texts;

    internal CheckpointWriter() : this("", [], new Dictionary<string, string>(StringComparer.Ordinal))
    {
    }

    private CheckpointWriter(string scope, List<(SafetensorsDeclaration, Action<SafetensorsWriter>)> tensors, Dictionary<string, string> texts) =>
        (_scope, _tensors, _texts) = (scope, tensors, texts);

    /// <summary>The same collection under names that begin with this.</summary>
    public CheckpointWriter Scope(string name) => new($"{_scope}{name}.", _tensors, _texts);

    /// <summary>Adds a text.</summary>
    public void Add(string name, string value) => _texts.Add(_scope + name, value);

    /// <summary>Adds a number, of which no bit is lost.</summary>
    public void Add(string name, double value) => Add(name, value.ToString("R", CultureInfo.InvariantCulture));

    /// <summary>Adds a tensor of singles. They are read when the file is written.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="values">Its elements.</param>
    /// <param name="shape">Its axes.</param>
    public void AddSingles(string name, ReadOnlyMemory<float> values, params ReadOnlySpan<long> shape)
    {
        var tensor = new SafetensorsDeclaration(_scope + name, SafetensorsType.F32, shape);
        _tensors.Add((tensor, writer => Write(writer, tensor.Name, values.Span)));
    }

    /// <summary>Adds a list of integers.</summary>
    public void AddIntegers(string name, params long[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        var tensor = new SafetensorsDeclaration(_scope + name, SafetensorsType.I64, values.Length);
        _tensors.Add((tensor, writer => Write<long>(writer, tensor.Name, values)));
    }

    /// <summary>Adds a list of 64-bit words.</summary>
    public void AddWords(string name, params ulong[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        var tensor = new SafetensorsDeclaration(_scope + name, SafetensorsType.U64, values.Length);
        _tensors.Add((tensor, writer => Write<ulong>(writer, tensor.Name, values)));
    }

    internal void Add(string name, Kernels.Tensor values)
    {
        var tensor = new SafetensorsDeclaration(_scope + name, SafetensorsType.F32, [.. values.Shape.Axes.ToArray().Select(axis => (long)axis)]);
        _tensors.Add((tensor, writer => Write(writer, tensor.Name, HostMemory.Read<float>(values))));
    }

    /// <summary>Writes the file: whole and synced, or not at all.</summary>
    /// <exception cref="FileWriteException">The disk refused; an older file still stands.</exception>
    internal void Complete(string path)
    {
        using var writer = new SafetensorsWriter(path, _tensors.OrderByDescending(entry => entry.Tensor.Type.Bits()).Select(entry => entry.Tensor), _texts);
        foreach ((_, Action<SafetensorsWriter> write) in _tensors.OrderByDescending(entry => entry.Tensor.Type.Bits()))
        {
            write(writer);
        }

        writer.Complete();
    }

    private static void Write<T>(SafetensorsWriter writer, string name, ReadOnlySpan<T> values) where T : unmanaged
    {
        for (int at = 0; at < values.Length; at += Piece)
        {
            writer.Write(name, MemoryMarshal.AsBytes(values.Slice(at, Math.Min(Piece, values.Length - at))));
        }
    }
}
