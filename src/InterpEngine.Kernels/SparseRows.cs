namespace InterpEngine.Kernels;

/// <summary>
/// A sparse matrix, row by row: the entries of row r are those from <c>RowPointers[r]</c> to <c>RowPointers[r + 1]</c>, in the order of
/// their columns. It owns its tensors.
/// </summary>
/// <param name="columns">Columns of the matrix: features of a dictionary.</param>
/// <param name="rowPointers">I32 [rows + 1], the first one 0.</param>
/// <param name="indices">I32: each entry's column; may be longer than there are entries.</param>
/// <param name="values">F32: each entry's value, as long as the indices.</param>
public sealed class SparseRows(int columns, Tensor rowPointers, Tensor indices, Tensor values) : IDisposable
{
    /// <summary>Columns of the matrix.</summary>
    public int Columns => columns;

    /// <summary>Rows of the matrix.</summary>
    public int Rows => rowPointers.Shape[0] - 1;

    /// <summary>I32 [rows + 1]: where each row's entries begin, and where the last ones end.</summary>
    public Tensor RowPointers => rowPointers;

    /// <summary>I32: each entry's column.</summary>
    public Tensor Indices => indices;

    /// <summary>F32: each entry's value.</summary>
    public Tensor Values => values;

    /// <summary>Entries that there is room for.</summary>
    public int Capacity => indices.Shape[0];

    /// <summary>Room for a number of entries.</summary>
    public static SparseRows Allocate(Device device, int rows, int columns, int capacity)
    {
        ArgumentNullException.ThrowIfNull(device);
        Tensor pointers = device.Allocate(ElementType.I32, checked(rows + 1));
        Tensor indices = device.Allocate(ElementType.I32, capacity);
        return new(columns, pointers, indices, device.Allocate(ElementType.F32, capacity));
    }

    /// <summary>Copies the matrix to the host.</summary>
    /// <returns>Row pointers, and the columns and values of the entries there are.</returns>
    public (int[] RowPointers, int[] Indices, float[] Values) ToArrays()
    {
        int[] pointers = rowPointers.ToArray<int>();
        using Tensor usedIndices = indices.Slice(0, pointers[^1]), usedValues = values.Slice(0, pointers[^1]);
        return (pointers, usedIndices.ToArray<int>(), usedValues.ToArray<float>());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        rowPointers.Dispose();
        indices.Dispose();
        values.Dispose();
    }

    internal void Check(string op, int rows, int columns)
    {
        OpCheck.Indices(op, nameof(RowPointers), RowPointers, rows + 1L);
        OpCheck.Indices(op, nameof(Indices), Indices, Values.Shape.Count);
        OpCheck.Vector(op, nameof(Values), Values, Capacity);
        if (Columns != columns)
        {
            throw new ArgumentException($"{op}: a sparse matrix of {Columns} columns; expected {columns}.");
        }
    }
}
