using System.Globalization;
using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>The state of a training run, as a file holds it. What is missing or has another shape is another run's, and refused by name.</summary>
public sealed class CheckpointReader
{
    private readonly SafetensorsFile _file;
    private readonly string _scope;

    internal CheckpointReader(SafetensorsFile file, string scope = "") => (_file, _scope) = (file, scope);

    /// <summary>The same file under names that begin with this.</summary>
    public CheckpointReader Scope(string name) => new(_file, $"{_scope}{name}.");

    /// <summary>Whether there is a tensor or a text of this name.</summary>
    public bool Has(string name) => _file.Tensors.ContainsKey(_scope + name) || _file.Metadata.ContainsKey(_scope + name);

    /// <summary>A text.</summary>
    /// <exception cref="InvalidFileException">It is missing.</exception>
    public string Text(string name) => _file.Metadata.TryGetValue(_scope + name, out string? text) ? text : throw Another($"has no {_scope + name}");

    /// <summary>A number.</summary>
    /// <exception cref="InvalidFileException">It is missing or none.</exception>
    public double Number(string name) => double.TryParse(Text(name), NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
        ? number
        : throw Another($"has {InputFile.Quote(Text(name))} as {_scope + name}");

    /// <summary>A number that counts.</summary>
    /// <exception cref="InvalidFileException">It is missing or none.</exception>
    public int Count(string name) => Number(name) is >= 0 and <= int.MaxValue and var number && number == Math.Floor(number)
        ? (int)number
        : throw Another($"has {InputFile.Quote(Text(name))} as {_scope + name}");

    /// <summary>A tensor of singles.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="shape">Its axes; null for one of any length.</param>
    /// <exception cref="InvalidFileException">It is missing, or another.</exception>
    public float[] Singles(string name, params ReadOnlySpan<int?> shape) => Entry(name, SafetensorsType.F32, shape).ToSingles();

    /// <summary>A tensor of integers.</summary>
    /// <exception cref="InvalidFileException">It is missing, or another; or an element is negative.</exception>
    public long[] Integers(string name, params ReadOnlySpan<int?> shape)
    {
        long[] values = Entry(name, SafetensorsType.I64, shape).ToIntegers();
        return values.All(value => value >= 0) ? values : throw Another($"has negative counts in {_scope + name}");
    }

    /// <summary>A tensor of 64-bit words.</summary>
    /// <exception cref="InvalidFileException">It is missing, or another.</exception>
    public ulong[] Words(string name, params ReadOnlySpan<int?> shape)
    {
        SafetensorsEntry entry = Entry(name, SafetensorsType.U64, shape);
        var words = new ulong[entry.Count];
        entry.File.Read(entry.Offset, MemoryMarshal.AsBytes(words.AsSpan()));
        return words;
    }

    /// <summary>Refuses a file that does not have a tensor of singles of this shape.</summary>
    internal void Require(string name, int rows, int columns) => Entry(name, SafetensorsType.F32, [rows, columns]);

    /// <summary>Copies a tensor of singles.</summary>
    internal void CopyTo(string name, Kernels.Tensor to)
    {
        SafetensorsEntry entry = Entry(name, SafetensorsType.F32, [to.Shape[0], to.Shape[1]]);
        to.CopyFrom<float>(entry.ToSingles());
    }

    /// <summary>The error of a file that is not this run's.</summary>
    public InvalidFileException Another(string defect) => new(_file.Path, defect, "It is the checkpoint of another run, or a broken one.");

    private SafetensorsEntry Entry(string name, SafetensorsType type, ReadOnlySpan<int?> shape)
    {
        if (_file.Tensors.TryGetValue(_scope + name, out SafetensorsEntry? entry) && entry.Type == type && entry.Shape.Length == shape.Length)
        {
            bool same = true;
            for (int axis = 0; axis < shape.Length; axis++)
            {
                same &= shape[axis] is null || shape[axis] == entry.Shape[axis];
            }

            if (same)
            {
                return entry;
            }
        }

        string wanted = string.Join(", ", shape.ToArray().Select(axis => axis?.ToString(CultureInfo.InvariantCulture) ?? "any"));
        throw Another($"has no tensor {InputFile.Quote(_scope + name)} of {type} [{wanted}]");
    }
}
