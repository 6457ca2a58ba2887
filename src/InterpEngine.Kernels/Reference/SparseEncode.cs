namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <summary>What may survive of a row.</summary>
    private readonly record struct Candidate(int Column, float Value, float Score);

    /// <inheritdoc/>
    protected override void Execute(in SparseEncode op)
    {
        using ReferenceWeight? packed = op.Directions is { } directions ? PackDirections(in op, directions) : null;
        SparseEncode o = op;
        ReferenceWeight weight = packed ?? Own(op.W!);
        var rows = new List<Candidate>[op.X.Rows];
        ForEach(rows.Length, row => rows[row] = Select(in o, Candidates(in o, weight, row)));
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

    /// <summary>All directions, or the chosen ones, as a weight.</summary>
    private ReferenceWeight PackDirections(in SparseEncode op, Matrix directions)
    {
        var weight = new ReferenceWeight(op.DirectionsType, directions.Columns, op.Candidates);
        for (int n = 0; n < op.Candidates; n++)
        {
            int feature = op.Chosen is { } chosen ? All<int>(chosen)[n] : n;
            if (feature < 0 || feature >= op.Features)
            {
                throw new ArgumentException($"{nameof(SparseEncode)}: an index lies past the end of its table.");
            }

            nint address = directions.Address + (nint)(feature * directions.Stride * sizeof(float));
            Pack(weight, new WeightBlock(address, ElementType.F32, directions.Columns, 1, 1, directions.Columns) { ColumnStart = n });
        }

        return weight;
    }

    private static List<Candidate> Candidates(in SparseEncode op, ReferenceWeight weight, int row)
    {
        float[] x = Row(op.X, row).ToArray();
        for (int i = 0; op.Offset is { } offset && i < x.Length; i++)
        {
            x[i] -= All<float>(offset)[i];
        }

        var left = new LeftRow(x, weight.Type, 0);
        Span<float> pre = op.Pre is { } p ? Row(p, row) : [];
        var candidates = new List<Candidate>();
        for (int column = 0; column < weight.Columns; column++)
        {
            int n = op.Chosen is { } chosen ? All<int>(chosen)[column] : column;
            float value = (float)left.Dot(weight, column);
            value = op.Bias is { } bias ? value + All<float>(bias)[n] : value;
            if (!pre.IsEmpty)
            {
                pre[column] = value;
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
        int groupSize = op.Selection == Selection.GroupMax ? op.Features / op.K : 0;
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
