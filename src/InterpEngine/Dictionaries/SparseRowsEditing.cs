using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>Sparse rows made and edited on the host, where they are few numbers.</summary>
public static class SparseRowsEditing
{
    /// <summary>The same rows with other values; entries that become 0 are left out.</summary>
    /// <param name="rows">Stay as they are.</param>
    /// <param name="edit">From row, column and value to the new value.</param>
    public static SparseRows Map(this SparseRows rows, Func<int, int, float, float> edit)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(edit);
        (int[] pointers, int[] columns, float[] values) = rows.ToArrays();
        int kept = 0, begin = 0;
        for (int row = 0; row < rows.Rows; row++)
        {
            int end = pointers[row + 1];
            for (int e = begin; e < end; e++)
            {
                float value = edit(row, columns[e], values[e]);
                if (value != 0)
                {
                    (columns[kept], values[kept]) = (columns[e], value);
                    kept++;
                }
            }

            begin = end;
            pointers[row + 1] = kept;
        }

        return Upload(rows.Values.Device, rows.Columns, pointers, columns.AsSpan(0, kept), values.AsSpan(0, kept));
    }

    /// <summary>The same rows with some features' values changed everywhere, also where there was none.</summary>
    /// <param name="rows">Stay as they are.</param>
    /// <param name="edits">What to change, in this order.</param>
    public static SparseRows With(this SparseRows rows, IReadOnlyList<FeatureEdit> edits)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(edits);
        (int[] pointers, int[] columns, float[] values) = rows.ToArrays();
        var edited = new SortedDictionary<int, float>[rows.Rows];
        for (int row = 0; row < edited.Length; row++)
        {
            edited[row] = [];
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                edited[row][columns[e]] = values[e];
            }

            foreach (FeatureEdit edit in edits)
            {
                edited[row][edit.Feature] = edited[row].GetValueOrDefault(edit.Feature) * edit.Factor + edit.Value;
            }
        }

        return FromRows(rows.Values.Device, rows.Columns, edited);
    }

    /// <summary>Sparse rows from each row's values by column; zeros are left out.</summary>
    public static SparseRows FromRows(Device device, int columns, IReadOnlyList<SortedDictionary<int, float>> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        int[] pointers = new int[rows.Count + 1];
        var entries = new List<KeyValuePair<int, float>>();
        for (int row = 0; row < rows.Count; row++)
        {
            entries.AddRange(rows[row].Where(entry => entry.Value != 0));
            pointers[row + 1] = entries.Count;
        }

        return Upload(device, columns, pointers, [.. entries.Select(entry => entry.Key)], [.. entries.Select(entry => entry.Value)]);
    }

    /// <summary>Sparse rows of arrays.</summary>
    public static SparseRows Upload(Device device, int columns, ReadOnlySpan<int> pointers, ReadOnlySpan<int> indices, ReadOnlySpan<float> values)
    {
        ArgumentNullException.ThrowIfNull(device);
        return new(columns, device.Upload(pointers, pointers.Length), device.Upload(indices, indices.Length), device.Upload(values, values.Length));
    }

    /// <summary>The whole matrix, row by row.</summary>
    public static float[] ToDense(this SparseRows rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        (int[] pointers, int[] columns, float[] values) = rows.ToArrays();
        var dense = new float[(long)rows.Rows * rows.Columns];
        for (int row = 0; row < rows.Rows; row++)
        {
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                dense[(long)row * rows.Columns + columns[e]] = values[e];
            }
        }

        return dense;
    }
}
