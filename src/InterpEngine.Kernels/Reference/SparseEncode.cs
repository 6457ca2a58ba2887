namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <summary>What may survive of a row.</summary>
    private readonly record struct Candidate(int Column, float Value, float Score);

    /// <inheritdoc/>
    protected override void Execute(in SparseEncode op)
    {
        SparseEncode o = op;
        var rows = new List<Candidate>[op.X.Rows];
        ForEach(rows.Length, row => rows[row] = Select(in o, Candidates(in o, row)));
        if (op.Selection == Selection.BatchTopK)
        {
            SelectOfBatch(rows, op.K);
        }

        Span<int> pointers = All<int>(op.Out.RowPointers);
        pointers[0] = 0;
        for (int row = 0; row < rows.Length; row++)
        {
            pointers[row + 1] = checked(pointers[row] + rows[row].Count);
            for (int i = 0; i < rows[row].Count && pointers[row] + i < op.Out.Capacity; i++)
            {
                All<int>(op.Out.Indices)[pointers[row] + i] = rows[row][i].Column;
                All<float>(op.Out.Values)[pointers[row] + i] = rows[row][i].Value;
            }
        }
    }

    private static List<Candidate> Candidates(in SparseEncode op, int row)
    {
        ReferenceWeight weight = Own(op.W);
        var left = new LeftRow(Row(op.X, row), weight.Type, 0);
        Span<float> pre = op.Pre is { } p ? Row(p, row) : [];
        var candidates = new List<Candidate>();
        for (int n = 0; n < weight.Columns; n++)
        {
            float value = (float)left.Dot(weight, n);
            value = op.Bias is { } bias ? value + All<float>(bias)[n] : value;
            if (!pre.IsEmpty)
            {
                pre[n] = value;
            }

            float score = op.Scale is { } scale ? value * All<float>(scale)[n] : value;
            if (!(score <= (op.Threshold is { } threshold ? All<float>(threshold)[n] : float.NegativeInfinity)))
            {
                candidates.Add(new(n, value, op.Selection == Selection.TopMagnitude ? MathF.Abs(score) : score));
            }
        }

        return candidates;
    }

    /// <summary>A row's survivors, by column; sorts are stable, so of equal scores the first stays first.</summary>
    private static List<Candidate> Select(in SparseEncode op, List<Candidate> candidates)
    {
        int groupSize = op.Selection == Selection.GroupMax ? op.W.Columns / op.K : 0;
        return op.Selection switch
        {
            Selection.TopK or Selection.TopMagnitude => [.. Largest(candidates).Take(op.K).OrderBy(c => c.Column)],
            Selection.GroupMax => [.. candidates.GroupBy(c => c.Column / groupSize).Select(group => Largest(group).First())],
            _ => candidates,
        };
    }

    private static void SelectOfBatch(List<Candidate>[] rows, int k)
    {
        IEnumerable<(int Row, Candidate Entry)> all = rows.SelectMany((row, r) => row.Select(entry => (r, entry)));
        HashSet<(int, int)> kept = [.. Largest(all, entry => entry.Entry.Score).Take(k).Select(entry => (entry.Row, entry.Entry.Column))];
        for (int row = 0; row < rows.Length; row++)
        {
            rows[row].RemoveAll(entry => !kept.Contains((row, entry.Column)));
        }
    }

    private static IEnumerable<Candidate> Largest(IEnumerable<Candidate> candidates) => Largest(candidates, c => c.Score);

    private static IEnumerable<T> Largest<T>(IEnumerable<T> items, Func<T, float> score) =>
        items.OrderBy(score, Comparer<float>.Create(LargestFirst));
}
