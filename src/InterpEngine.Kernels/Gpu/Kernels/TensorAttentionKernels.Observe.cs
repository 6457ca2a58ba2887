using ILGPU;
using ILGPU.Runtime;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

internal static partial class TensorAttentionKernels
{
    /// <summary>Scores and pattern of the same rows, from the same products and the saved maxima and sums. Views may be
    /// empty.</summary>
    [Kernel(Threads, typeof(Head64), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head64), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head64), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128Once), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128Once), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    public static void Observe<THead, TScore>(
        ArrayView<float> q, ArrayView<Bits4> packed, ArrayView<int> spans, ArrayView<float> slopes, ArrayView<float> statistics,
        ArrayView<float> scoresOut, ArrayView<float> pattern, int queries, int heads, int kvHeads, int size, int keys, int window,
        int causal, float scale, float cap, int stride, int aligned)
        where THead : struct, IHeadShape
        where TScore : struct, IScore
    {
        THead head = default;
        TScore rule = default;
        ArrayView<Bits4> shared = SharedMemory.GetDynamic<Bits4>();
        int shares = heads / kvHeads, tiles = (queries * shares + Rows<THead>() - 1) / Rows<THead>();
        int firstRow = Grid.IdxX % tiles * Rows<THead>(), kvHead = Grid.IdxX / tiles % kvHeads, batch = Grid.IdxX / tiles / kvHeads;
        int begin = spans[2 * batch], end = spans[2 * batch + 1], keysAt = Rows<THead>() * head.Blocks * BlockChunks;
        ArrayView<ScoreRow> rows = SharedMemory.Allocate<ScoreRow>(MostRows);
        int own = Group.IdxX % Rows<THead>(), row = firstRow + OwnRow<THead>();
        rows[own] = Row(firstRow + own, shares, kvHead, batch, begin, end, queries, keys, window, causal, heads, slopes, default);
        LoadQueries<THead>(shared.Cast<uint>(), q, own, rows[own].Place * size, size, aligned != 0);
        var bend = new Bend(scale, cap);
        float unit = rule.Unit(scale);

        // All keys, also those that nobody sees: they have −∞ and 0. Tiles count from the sequence's first key.
        for (int key = begin - (begin + TileKeys - 1) / TileKeys * TileKeys; key < keys; key += TileKeys)
        {
            Group.Barrier();
            long from = ((long)batch * keys + key) * stride + kvHead * (stride / kvHeads);
            BeginKeys<THead>(shared, keysAt, packed, from, stride, key, end);
            Ptx.CpAsyncCommit();
            Ptx.CpAsyncWaitAll();
            Group.Barrier();
            int laneKey = key + (Group.IdxX & 3) * 2;
            Both<Block64> scores = Seen<THead>(Scores<THead, TScore>(shared, keysAt, rows, laneKey, bend), rows, laneKey);
            Show<TScore>(
                scores.First, laneKey, row, shares, kvHead, batch, queries, heads, keys, scale, unit, statistics, scoresOut, pattern);
            if (head.Twice)
            {
                Show<TScore>(
                    scores.Last, laneKey, row + 16, shares, kvHead, batch, queries, heads, keys, scale, unit, statistics, scoresOut, pattern);
            }
        }
    }

    private static void Show<TScore>(
        Block64 scores, int key, int row, int shares, int kvHead, int batch, int queries, int heads, int keys, float scale, float unit,
        ArrayView<float> statistics, ArrayView<float> scoresOut, ArrayView<float> pattern)
        where TScore : struct, IScore
    {
        TScore rule = default;
        long low = Place(row, shares, kvHead, batch, queries, heads), high = Place(row + 8, shares, kvHead, batch, queries, heads);
        long squareLow = Square(row, shares, kvHead, batch, queries, heads, keys);
        long squareHigh = Square(row + 8, shares, kvHead, batch, queries, heads, keys);
        if (scoresOut.Length != 0)
        {
            float by = rule.Factor(scale);
            StoreSquare(scoresOut, squareLow, squareHigh, key, keys, scores.Scale(by, by));
        }

        if (pattern.Length != 0)
        {
            float maxLow = low < 0 ? 0 : statistics[2 * low], byLow = low < 0 ? 0 : statistics[2 * low + 1];
            float maxHigh = high < 0 ? 0 : statistics[2 * high], byHigh = high < 0 ? 0 : statistics[2 * high + 1];
            StoreSquare(pattern, squareLow, squareHigh, key, keys, scores.Weights(unit, maxLow, maxHigh).Scale(byLow, byHigh));
        }
    }

    private static void StoreSquare(ArrayView<float> to, long low, long high, int key, int keys, Block64 values)
    {
        Store(to, low, high, key, keys, values.T0);
        Store(to, low, high, key + 8, keys, values.T1);
        Store(to, low, high, key + 16, keys, values.T2);
        Store(to, low, high, key + 24, keys, values.T3);
        Store(to, low, high, key + 32, keys, values.T4);
        Store(to, low, high, key + 40, keys, values.T5);
        Store(to, low, high, key + 48, keys, values.T6);
        Store(to, low, high, key + 56, keys, values.T7);
    }

    private static void Store(ArrayView<float> to, long low, long high, int key, int keys, Sum4 sum)
    {
        if (key >= 0 && key < keys)
        {
            Store(to, low + key, sum.X);
            Store(to, high + key, sum.Z);
        }

        if (key + 1 >= 0 && key + 1 < keys)
        {
            Store(to, low + key + 1, sum.Y);
            Store(to, high + key + 1, sum.W);
        }
    }

    private static void Store(ArrayView<float> to, long at, float value)
    {
        if (at >= 0)
        {
            to[at] = value;
        }
    }

    /// <summary>Where a row lies among [batch, heads, queries, keys]; the smallest number for none.</summary>
    private static long Square(int row, int shares, int kvHead, int batch, int queries, int heads, int keys) =>
        row / shares < queries
            ? (((long)batch * heads + kvHead * shares + row % shares) * queries + row / shares) * keys
            : long.MinValue;
}
