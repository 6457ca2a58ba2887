using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>The tensors of a dictionary's file by name, checked against the shapes that they ought to have.</summary>
internal sealed class StoredWeights : IDisposable
{
    private readonly SafetensorsFile? _safetensors;
    private readonly NpzFile? _npz;

    private StoredWeights(string path)
    {
        Path = path;
        if (path.EndsWith(".npz", StringComparison.Ordinal))
        {
            _npz = NpzFile.Open(path);
        }
        else
        {
            _safetensors = SafetensorsFile.Open(path);
        }
    }

    public string Path { get; }

    /// <summary>The names that are there.</summary>
    public IEnumerable<string> Names => _npz?.Arrays.Keys ?? _safetensors!.Tensors.Keys;

    public static StoredWeights Open(string path) => new(path);

    public bool Has(string name) => Names.Contains(name, StringComparer.Ordinal);

    /// <summary>The axes of a tensor.</summary>
    public int[] Shape(string name)
    {
        IEnumerable<long> shape = _npz is not null
            ? (_npz.Arrays.TryGetValue(name, out NpyArray? array) ? array.Shape : throw Missing(name))
            : (_safetensors!.Tensors.TryGetValue(name, out SafetensorsEntry? entry) ? entry.Shape : throw Missing(name));
        return [.. shape.Select(axis => axis <= int.MaxValue
            ? (int)axis
            : throw new InvalidFileException(Path, $"tensor {InputFile.Quote(name)} has an axis of {axis}; at most 2³¹ − 1 is read"))];
    }

    /// <summary>The two axes of a matrix.</summary>
    public (int Rows, int Columns) MatrixShape(string name) => Shape(name) is [int rows, int columns]
        ? (rows, columns)
        : throw Unfit(name, "a matrix");

    /// <summary>A tensor of a shape.</summary>
    public float[] Read(string name, params ReadOnlySpan<int> shape)
    {
        if (!shape.SequenceEqual(Shape(name)))
        {
            throw Unfit(name, $"[{string.Join(", ", shape.ToArray())}]");
        }

        return _npz is not null ? _npz.Singles(name).Values : _safetensors!.Tensors[name].ToSingles();
    }

    /// <summary>A tensor of a shape, or null where it is absent.</summary>
    public float[]? Optional(string name, params ReadOnlySpan<int> shape) => Has(name) ? Read(name, shape) : null;

    /// <summary>A matrix stored as [columns, rows], turned round.</summary>
    public float[] ReadTransposed(string name, int rows, int columns) => Transpose(Read(name, columns, rows), columns, rows);

    /// <summary>Writes a tensor, in pieces: its bytes may be too many for one span.</summary>
    public static void Write(SafetensorsWriter writer, string name, float[] values)
    {
        const int piece = 1 << 24;
        for (int at = 0; at < values.Length || at == 0; at += piece)
        {
            writer.Write(name, MemoryMarshal.AsBytes(values.AsSpan(at, Math.Min(piece, values.Length - at))));
        }
    }

    /// <summary>Chosen rows of a safetensors tensor [rows, …], read alone: the rest stays on disk.</summary>
    public float[] ReadRows(string name, ReadOnlySpan<int> rows, params ReadOnlySpan<int> shape)
    {
        SafetensorsEntry entry = _safetensors!.Tensors.GetValueOrDefault(name) ?? throw Missing(name);
        if (!shape.SequenceEqual(Shape(name)))
        {
            throw Unfit(name, $"[{string.Join(", ", shape.ToArray())}]");
        }

        if (entry.Type is not (SafetensorsType.F32 or SafetensorsType.F16 or SafetensorsType.BF16))
        {
            throw Unfit(name, "F32, F16 or BF16 elements");
        }

        int length = 1;
        foreach (int axis in shape[1..])
        {
            length = checked(length * axis);
        }

        var values = new float[(long)rows.Length * length];
        for (int i = 0; i < rows.Length; i++)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)rows[i], (uint)shape[0], nameof(rows));
            entry.ToSingles((long)rows[i] * length, length).CopyTo(values.AsSpan(i * length));
        }

        return values;
    }

    /// <summary>A tensor's integers.</summary>
    public long[] Integers(string name)
    {
        _ = Shape(name);
        return _safetensors!.Tensors[name].ToIntegers();
    }

    public InvalidFileException Missing(string name) => new(
        Path, $"there is no tensor {InputFile.Quote(name)}", $"It has {string.Join(", ", Names.Take(12).Select(InputFile.Quote))}.");

    public void Dispose() => _safetensors?.Dispose();

    /// <summary>A matrix [rows, columns] as [columns, rows].</summary>
    public static float[] Transpose(float[] matrix, int rows, int columns)
    {
        var turned = new float[matrix.Length];
        const int block = 32; // of both, to stay within cache lines
        for (int r = 0; r < rows; r += block)
        {
            for (int c = 0; c < columns; c += block)
            {
                for (int i = r; i < Math.Min(rows, r + block); i++)
                {
                    for (int j = c; j < Math.Min(columns, c + block); j++)
                    {
                        turned[(long)j * rows + i] = matrix[(long)i * columns + j];
                    }
                }
            }
        }

        return turned;
    }

    private InvalidFileException Unfit(string name, string expected) =>
        new(Path, $"tensor {InputFile.Quote(name)} has the shape [{string.Join(", ", Shape(name))}]; expected {expected}");
}
