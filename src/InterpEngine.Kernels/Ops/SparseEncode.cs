namespace InterpEngine.Kernels;

/// <summary>Which entries of a row of scores survive.</summary>
public enum Selection
{
    /// <summary>All above the threshold.</summary>
    Threshold,

    /// <summary>The k largest of each row.</summary>
    TopK,

    /// <summary>The k of each row that are largest in magnitude.</summary>
    TopMagnitude,

    /// <summary>The largest of each of k groups of neighbouring columns, all groups of one size.</summary>
    GroupMax,

    /// <summary>The k largest of all rows together.</summary>
    BatchTopK,
}

/// <summary>
/// A product of which only some entries are kept: <c>h = (X − offset)·W + bias</c>, <c>score = h × scale</c>; the entries whose scores
/// survive make up the rows of a sparse matrix, with their h as values, ordered by column. The dense product never exists unless it is asked
/// for.
/// </summary>
/// <remarks>
/// <para>An entry can survive only if its score is above its column's threshold, or NaN; +∞ excludes a column. Of equal scores the
/// entry of the lower row, then of the lower column survives; NaN is larger than everything, −0 equals +0.</para>
/// <para>X − offset is rounded once; h is summed as in <see cref="MatMul"/>. No entry depends on the other rows, except with <see cref="Selection.BatchTopK"/>, whose
/// point that is; which threads did what never shows.</para>
/// </remarks>
public readonly record struct SparseEncode
{
    /// <summary>[rows, K].</summary>
    public required Matrix X { get; init; }

    /// <summary>[K] or none: subtracted from every row of X.</summary>
    public Tensor? Offset { get; init; }

    /// <summary>[K, F]; none where <see cref="Directions"/> are given.</summary>
    public Weight? W { get; init; }

    /// <summary>[F, K]: the weight's columns as rows of a matrix. They are packed as they are needed: training, which changes them in every
    /// step, keeps no packed copy.</summary>
    public Matrix? Directions { get; init; }

    /// <summary>What directions are packed as, and X is rounded to with them: F32 or BF16.</summary>
    public ElementType DirectionsType { get; init; }

    /// <summary>I32 [m] or none: the only directions that are multiplied with, in ascending order. Bias, scale, threshold and the sparse rows'
    /// columns still count all F.</summary>
    public Tensor? Chosen { get; init; }

    /// <summary>[F] or none.</summary>
    public Tensor? Bias { get; init; }

    /// <summary>[F] or none: multiplies h for the choice alone.</summary>
    public Tensor? Scale { get; init; }

    /// <summary>[F] or none for −∞: what scores must exceed.</summary>
    public Tensor? Threshold { get; init; }

    /// <summary>Which of the others survive.</summary>
    public Selection Selection { get; init; }

    /// <summary>How many survive at most: of each row, or of all rows with <see cref="Selection.BatchTopK"/>; how many groups there are
    /// with <see cref="Selection.GroupMax"/>. Means nothing with <see cref="Selection.Threshold"/>.</summary>
    public int K { get; init; }

    /// <summary>[rows, F], or [rows, m] of chosen directions: where all h go, if anyone wants them.</summary>
    public Matrix? Pre { get; init; }

    /// <summary>
    /// [rows, F]: where the survivors go. Where there is not room for all, the row pointers say how much is needed, and neither columns nor
    /// values mean anything.
    /// </summary>
    public required SparseRows Out { get; init; }

    /// <summary>F.</summary>
    internal int Features => W?.Columns ?? Directions?.Rows ?? 0;

    /// <summary>Columns that may survive: m, or F.</summary>
    internal int Candidates => Chosen?.Shape[0] ?? Features;

    internal void Check()
    {
        const string op = nameof(SparseEncode);
        int features = Features, candidates = Candidates;
        bool packed = Directions is null;
        if (W is null == packed || (packed && Chosen is not null) || DirectionsType is not (ElementType.F32 or ElementType.BF16))
        {
            throw new ArgumentException($"{op}: expected a weight, or directions in F32 or BF16, which may be chosen from.");
        }

        X.Check(op, nameof(X), X.Rows, W?.Inner ?? X.Columns);
        Directions?.Check(op, nameof(Directions), features, X.Columns);
        OpCheck.Vector(op, nameof(Offset), Offset, X.Columns);
        if (Chosen is not null)
        {
            OpCheck.Indices(op, nameof(Chosen), Chosen, candidates);
        }

        OpCheck.Vector(op, nameof(Bias), Bias, features);
        OpCheck.Vector(op, nameof(Scale), Scale, features);
        OpCheck.Vector(op, nameof(Threshold), Threshold, features);
        Pre?.Check(op, nameof(Pre), X.Rows, candidates);
        Out.Check(op, X.Rows, features);
        bool fits = Selection switch
        {
            Selection.Threshold => true,
            Selection.BatchTopK => K >= 0,
            Selection.GroupMax => K >= 1 && features % K == 0 && Chosen is null,
            _ => K >= 0 && K <= candidates,
        };
        if (!fits)
        {
            throw new ArgumentException($"{op}: {Selection} with k = {K} does not fit {candidates} columns.");
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="SparseEncode"/>.</summary>
    public void Run(in SparseEncode op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="SparseEncode"/> with as much room as it needs.</summary>
    /// <param name="op">The op; its <see cref="SparseEncode.Out"/> is replaced.</param>
    /// <param name="guess">Entries to make room for at first, where the selection does not bound them.</param>
    /// <returns>The survivors, which are the caller's.</returns>
    /// <exception cref="DeviceException">There are 2³¹ or more.</exception>
    public SparseRows Encode(in SparseEncode op, int guess = 0)
    {
        int rows = op.X.Rows;
        long capacity = op.Selection switch
        {
            Selection.Threshold => Math.Max(guess, 1024),
            Selection.BatchTopK => Math.Min(op.K, (long)rows * op.Candidates),
            _ => (long)rows * op.K,
        };
        while (true)
        {
            SparseRows result = SparseRows.Allocate(this, rows, op.Features, Entries(capacity));
            try
            {
                Run(op with { Out = result });
            }
            catch
            {
                result.Dispose();
                throw;
            }

            using Tensor end = result.RowPointers.Slice(rows, 1);
            int needed = end.ToArray<int>()[0];
            if (needed <= result.Capacity)
            {
                return result;
            }

            result.Dispose();
            capacity = needed;
        }
    }

    /// <summary>This device's <see cref="SparseEncode"/>; arguments are checked.</summary>
    /// <exception cref="DeviceException">There are 2³¹ survivors or more.</exception>
    protected abstract void Execute(in SparseEncode op);

    private protected static DeviceException TooManySurvivors() =>
        new("More than 2³¹ − 1 features would be active at once.", "Encode fewer rows at a time.");

    private static int Entries(long count) => count <= int.MaxValue ? (int)count : throw TooManySurvivors();
}
