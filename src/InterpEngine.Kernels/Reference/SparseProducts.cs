namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in SparseProduct op)
    {
        CheckSparse(nameof(SparseProduct), op.S);
        SparseProduct o = op;
        ForEach(op.S.Rows, row =>
        {
            Span<float> output = Row(o.Out, row);
            double[] sums = new double[output.Length];
            for (int i = 0; i < sums.Length; i++)
            {
                sums[i] = o.Bias is { } bias ? All<float>(bias)[i] : o.Accumulate ? output[i] : 0;
                sums[i] -= o.Target is { } target ? Row(target, row)[i] : 0;
            }

            ReadOnlySpan<int> pointers = All<int>(o.S.RowPointers);
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                float value = All<float>(o.S.Values)[o.Order is { } order ? All<int>(order)[e] : e] * o.Scale;
                ReadOnlySpan<float> m = Row(o.M, All<int>(o.S.Indices)[e]);
                for (int i = 0; i < sums.Length; i++)
                {
                    sums[i] += (double)value * (o.Offset is { } offset ? m[i] - All<float>(offset)[i] : m[i]);
                }
            }

            Round(sums, output);
            for (int e = pointers[row]; o.Dots is { } dots && e < pointers[row + 1]; e++)
            {
                All<float>(dots)[e] = (float)Dot(output, Row(o.M, All<int>(o.S.Indices)[e]));
            }
        });
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseDots op)
    {
        CheckSparse(nameof(SparseDots), op.S);
        SparseDots o = op;
        ForEach(op.S.Rows, row =>
        {
            ReadOnlySpan<int> pointers = All<int>(o.S.RowPointers);
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                All<float>(o.Out)[e] = (float)Dot(Row(o.X, row), Row(o.M, All<int>(o.S.Indices)[e]));
            }
        });
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseTranspose op)
    {
        CheckSparse(nameof(SparseTranspose), op.S);
        ReadOnlySpan<int> pointers = All<int>(op.S.RowPointers), columns = All<int>(op.S.Indices);
        var entries = new List<(int Column, int Row, int Place)>();
        for (int row = 0; row < op.S.Rows; row++)
        {
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                entries.Add((columns[e], row, e));
            }
        }

        Span<int> starts = All<int>(op.RowPointers);
        starts.Clear();
        int at = 0;
        foreach ((int column, int row, int place) in entries.OrderBy(entry => entry.Column))
        {
            All<int>(op.Indices)[at] = row;
            All<int>(op.Order)[at++] = place;
            starts[column + 1] = at;
        }

        for (int column = 0; column < op.S.Columns; column++)
        {
            starts[column + 1] = Math.Max(starts[column + 1], starts[column]);
        }
    }

    private static void CheckSparse(string op, SparseRows s)
    {
        ReadOnlySpan<int> pointers = All<int>(s.RowPointers);
        bool proper = pointers[0] == 0 && pointers[^1] <= s.Capacity;
        for (int row = 0; row < s.Rows; row++)
        {
            proper &= pointers[row] <= pointers[row + 1];
        }

        if (!proper)
        {
            throw new ArgumentException($"{op}: an index lies past the end of its table.");
        }

        foreach (int column in All<int>(s.Indices)[..pointers[^1]])
        {
            if (column < 0 || column >= s.Columns)
            {
                throw new ArgumentException($"{op}: an index lies past the end of its table.");
            }
        }
    }
}
