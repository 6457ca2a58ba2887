using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// <see cref="AttentionKernels"/> for many queries: products in tiles of registers, with scores and weights in memory between them. Every
/// number is made by the same operations in the same order.
/// </summary>
/// <remarks>
/// A tile is made by side × side threads, eight queries and four keys or channels each. Squares [pairs of sequence and head, queries, keys]
/// have a distance of <c>pairStride</c> from one pair to the next, and begin with the pair <c>firstPair</c> and the query <c>firstQuery</c>.
/// </remarks>
internal static class TiledAttentionKernels
{
    /// <summary>Queries of a tile, and keys or channels, for each thread down or across.</summary>
    public const int Down = 8, Across = 4;

    private const int LargestSide = 16;
    private const int Step = 16;
    private const int LeftPitch = 2 * LargestSide + 1, RightPitch = LargestSide + 1;
    private const int TilePitch = LargestSide + 1;

    /// <summary>Scores, −∞ where a query does not see a key. Tiles that none sees are skipped unless <paramref name="complete"/>.</summary>
    [Kernel(256, typeof(AtOnce), Groups = 2)]
    [Kernel(256, typeof(OneByOne), Groups = 2)]
    public static void Score<TAccess>(
        ArrayView<float> q, ArrayView<float> k, ArrayView<int> spans, ArrayView<float> slopes, ArrayView<float> scores, long pairStride,
        int complete, int firstPair, int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads,
        int size, int capacity, int keys, int window, int causal, float scale, float cap)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        ArrayView<Four> left = SharedMemory.Allocate<Four>(Step * LeftPitch), right = SharedMemory.Allocate<Four>(Step * RightPitch);
        ArrayView<Four> sumsAt = SharedMemory.Allocate<Four>(Down * LargestSide * TilePitch);
        ArrayView<float> leftElements = left.Cast<float>(), rightElements = right.Cast<float>();
        int thread = Group.IdxX, threads = Group.DimX, down = thread / side, across = thread % side;
        int ofPair = Grid.IdxX / (tilesDown * tilesAcross), tile = Grid.IdxX % (tilesDown * tilesAcross);
        int pair = firstPair + ofPair, batch = pair / heads, head = pair % heads, kvHead = head / (heads / kvHeads);
        int fromQuery = firstQuery + tile / tilesAcross * Down * side, fromKey = tile % tilesAcross * Across * side;
        int toQuery = IntrinsicMath.Min(lastQuery, fromQuery + Down * side - 1);
        VisibleKeys any = VisibleKeys.OfAny(spans, batch, fromQuery, toQuery, queries, keys, window, causal);
        bool seen = fromKey < any.End && fromKey + Across * side > any.First;
        if (!seen && complete == 0)
        {
            return;
        }

        long queryRow = ((long)batch * queries * heads + head) * size, keyRow = ((long)batch * capacity * kvHeads + kvHead) * size;
        Sums8x4 sums = default;
        for (int k0 = 0; seen && k0 < size; k0 += Step)
        {
            for (int i = thread; i < Down * side * Step; i += threads)
            {
                int row = i / Step, step = i % Step;
                leftElements[step * (4 * LeftPitch) + row] = fromQuery + row <= toQuery && k0 + step < size
                    ? q[queryRow + (long)(fromQuery + row) * heads * size + k0 + step]
                    : 0;
            }

            for (int i = thread; i < Across * side * Step; i += threads)
            {
                int row = i / Step, step = i % Step;
                rightElements[step * (4 * RightPitch) + row] = fromKey + row < any.End && k0 + step < size
                    ? k[keyRow + (long)(fromKey + row) * kvHeads * size + k0 + step]
                    : 0;
            }

            Group.Barrier();

            // Not past the last channel: a chain may end in −0, which one more link with zeros would make +0.
            int steps = IntrinsicMath.Min(Step, size - k0);
            for (int step = 0; step < steps; step++)
            {
                sums = sums.Add(
                    left[step * LeftPitch + down], left[step * LeftPitch + side + down], right[step * RightPitch + across]);
            }

            Group.Barrier();
        }

        sums.Store(sumsAt, down, side, across, TilePitch);
        Group.Barrier();
        float slope = slopes.Length != 0 ? slopes[head] : 0;
        for (int i = thread; i < Down * side * side; i += threads)
        {
            int query = fromQuery + i / side, key = fromKey + i % side * Across;
            if (query <= toQuery && key < keys)
            {
                VisibleKeys own = VisibleKeys.Of(spans, batch, query, queries, keys, window, causal);
                Four row = sumsAt[i / side * TilePitch + i % side];
                row.A = Score(own, key, row.A, scale, cap, slope, slopes.Length != 0);
                row.B = Score(own, key + 1, row.B, scale, cap, slope, slopes.Length != 0);
                row.C = Score(own, key + 2, row.C, scale, cap, slope, slopes.Length != 0);
                row.D = Score(own, key + 3, row.D, scale, cap, slope, slopes.Length != 0);
                access.Store(scores, ofPair * pairStride + (long)(query - firstQuery) * keys + key, row, keys - key);
            }
        }
    }

    /// <summary>The softmax of each row, one group for each: scores and weights may be the same square. Zeros where a query does not
    /// see a key if <paramref name="complete"/>.</summary>
    [Kernel(AttentionKernels.Threads)]
    public static void Weigh(
        ArrayView<float> scores, long scoresPairStride, ArrayView<int> spans, ArrayView<int> keyCount, ArrayView<float> sinks,
        ArrayView<float> weights, long pairStride, int complete, int firstPair, int firstQuery, int count, int queries, int heads, int keys,
        int window, int causal)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        int ofPair = Grid.IdxX / count, ofQuery = Grid.IdxX % count, pair = firstPair + ofPair;
        long from = ofPair * scoresPairStride + (long)ofQuery * keys, to = ofPair * pairStride + (long)ofQuery * keys;
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        VisibleKeys seen = VisibleKeys.Of(spans, pair / heads, firstQuery + ofQuery, queries, keys, window, causal);
        if (complete != 0)
        {
            AttentionKernels.Outside(weights, to, keys, seen, 0);
        }

        float sink = sinks.Length != 0 ? sinks[pair % heads] : float.NegativeInfinity, max = sink, sum = 0;
        int begin = seen.First + AttentionKernels.Lane(seen), step = Group.DimX, j = begin;
        for (; j < seen.End - 7 * step; j += 8 * step)
        {
            max = Eight.Load(scores, from + j, step).Max(max);
        }

        for (; j < seen.End; j += step)
        {
            max = Elementary.Max(max, scores[from + j]);
        }

        max = GroupTree.Max(max, scratch);
        for (j = begin; j < seen.End - 7 * step; j += 8 * step)
        {
            Eight exponentials = Eight.Load(scores, from + j, step).Exp(max);
            exponentials.Store(weights, to + j, step);
            sum = exponentials.Sum(sum);
        }

        for (; j < seen.End; j += step)
        {
            float e = Elementary.Exp(scores[from + j] - max);
            weights[to + j] = e;
            sum += e;
        }

        sum = GroupTree.Sum(sum, scratch);
        float factor = 1 / (sinks.Length != 0 ? sum + Elementary.Exp(sink - max) : sum);
        for (j = begin; j < seen.End - 7 * step; j += 8 * step)
        {
            Eight.Load(weights, to + j, step).Times(factor).Store(weights, to + j, step);
        }

        for (; j < seen.End; j += step)
        {
            weights[to + j] *= factor;
        }
    }

    /// <summary>Z: of each query and channel one chain over the keys of each piece that the query sees.</summary>
    [Kernel(256, typeof(AtOnce), Groups = 2)]
    [Kernel(256, typeof(OneByOne), Groups = 2)]
    public static void Mix<TAccess>(
        ArrayView<float> weights, long pairStride, ArrayView<float> v, ArrayView<int> spans, ArrayView<float> z, ArrayView<ushort> zNarrow,
        int firstPair, int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads,
        int valueSize, int capacity, int keys, int window, int causal)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        ArrayView<Four> left = SharedMemory.Allocate<Four>(Step * LeftPitch), right = SharedMemory.Allocate<Four>(Step * RightPitch);
        ArrayView<Four> sumsAt = SharedMemory.Allocate<Four>(Down * LargestSide * TilePitch);
        ArrayView<int> firsts = SharedMemory.Allocate<int>(Down * LargestSide), ends = SharedMemory.Allocate<int>(Down * LargestSide);
        ArrayView<float> leftElements = left.Cast<float>(), rightElements = right.Cast<float>();
        int thread = Group.IdxX, threads = Group.DimX, down = thread / side, across = thread % side;
        int ofPair = Grid.IdxX / (tilesDown * tilesAcross), tile = Grid.IdxX % (tilesDown * tilesAcross);
        int pair = firstPair + ofPair, batch = pair / heads, head = pair % heads, kvHead = head / (heads / kvHeads);
        int fromQuery = firstQuery + tile / tilesAcross * Down * side, fromChannel = tile % tilesAcross * Across * side;
        int toQuery = IntrinsicMath.Min(lastQuery, fromQuery + Down * side - 1);
        VisibleKeys any = VisibleKeys.OfAny(spans, batch, fromQuery, toQuery, queries, keys, window, causal);
        for (int row = thread; row < Down * side; row += threads)
        {
            VisibleKeys own = default;
            if (fromQuery + row <= toQuery)
            {
                own = VisibleKeys.Of(spans, batch, fromQuery + row, queries, keys, window, causal);
            }

            firsts[row] = own.First;
            ends[row] = own.End;
        }

        Group.Barrier();

        // Keys that all of the tile's queries see need no asking. There are none where the first or the last is padding, which has end 0.
        int commonFirst = firsts[toQuery - fromQuery], commonEnd = IntrinsicMath.Min(ends[0], ends[toQuery - fromQuery]);
        long square = ofPair * pairStride + (long)(fromQuery - firstQuery) * keys;
        long valueRow = ((long)batch * capacity * kvHeads + kvHead) * valueSize;
        Sums8x4 sums = default, total = default;
        for (int key = any.Begin + (any.First - any.Begin) / Step * Step; key < any.End; key += Step)
        {
            if ((key - any.Begin) % AttentionKernels.Piece == 0)
            {
                total = Sums8x4.Sum(total, sums);
                sums = default;
            }
            else
            {
                Ptx.Otherwise();
            }

            int count = IntrinsicMath.Min(Step, any.End - key);
            for (int i = thread; i < Down * side * Step; i += threads)
            {
                int row = i / Step, step = i % Step;
                leftElements[step * (4 * LeftPitch) + row] = key + step >= firsts[row] && key + step < ends[row]
                    ? weights[square + (long)row * keys + key + step]
                    : 0;
            }

            for (int i = thread; i < Across * side * Step; i += threads)
            {
                int step = i / (Across * side), channel = i % (Across * side);
                rightElements[step * (4 * RightPitch) + channel] = step < count && fromChannel + channel < valueSize
                    ? v[valueRow + (long)(key + step) * kvHeads * valueSize + fromChannel + channel]
                    : 0;
            }

            Group.Barrier();
            if (key >= commonFirst && key + count <= commonEnd)
            {
                for (int step = 0; step < count; step++)
                {
                    sums = sums.Add(
                        left[step * LeftPitch + down], left[step * LeftPitch + side + down], right[step * RightPitch + across]);
                }
            }
            else
            {
                for (int step = 0; step < count; step++)
                {
                    sums = sums.Add(
                        left[step * LeftPitch + down], left[step * LeftPitch + side + down], right[step * RightPitch + across],
                        firsts, ends, down, side, key + step);
                }
            }

            Group.Barrier();
        }

        Sums8x4.Sum(total, sums).Store(sumsAt, down, side, across, TilePitch);
        Group.Barrier();
        for (int i = thread; i < Down * side * side; i += threads)
        {
            int query = fromQuery + i / side, channel = fromChannel + i % side * Across;
            if (query <= toQuery && channel < valueSize)
            {
                Four row = sumsAt[i / side * TilePitch + i % side];
                long to = (((long)batch * queries + query) * heads + head) * valueSize + channel;
                if (zNarrow.Length != 0)
                {
                    access.Store(zNarrow, to, row, valueSize - channel);
                }
                else
                {
                    access.Store(z, to, row, valueSize - channel);
                }
            }
        }
    }

    private static float Score(VisibleKeys seen, int key, float dot, float scale, float cap, float slope, bool sloped) =>
        seen.Has(key) ? AttentionKernels.Bend(dot, key - seen.Begin, scale, cap, slope, sloped) : float.NegativeInfinity;
}

/// <summary>A thread's sums of eight rows and four columns. Its rows are four from 4·down on, and four from 4·(side + down) on.</summary>
internal struct Sums8x4
{
    public Four R0, R1, R2, R3, R4, R5, R6, R7;

    public readonly Sums8x4 Add(Four a, Four b, Four with) => new()
    {
        R0 = Four.Fma(a.A, with, R0),
        R1 = Four.Fma(a.B, with, R1),
        R2 = Four.Fma(a.C, with, R2),
        R3 = Four.Fma(a.D, with, R3),
        R4 = Four.Fma(b.A, with, R4),
        R5 = Four.Fma(b.B, with, R5),
        R6 = Four.Fma(b.C, with, R6),
        R7 = Four.Fma(b.D, with, R7),
    };

    public static Sums8x4 Sum(Sums8x4 a, Sums8x4 b) => new()
    {
        R0 = Four.Sum(a.R0, b.R0),
        R1 = Four.Sum(a.R1, b.R1),
        R2 = Four.Sum(a.R2, b.R2),
        R3 = Four.Sum(a.R3, b.R3),
        R4 = Four.Sum(a.R4, b.R4),
        R5 = Four.Sum(a.R5, b.R5),
        R6 = Four.Sum(a.R6, b.R6),
        R7 = Four.Sum(a.R7, b.R7),
    };

    /// <summary>Only in rows that see the key.</summary>
    public readonly Sums8x4 Add(Four a, Four b, Four with, ArrayView<int> firsts, ArrayView<int> ends, int down, int side, int key)
    {
        int low = 4 * down, high = 4 * (side + down);
        return new()
        {
            R0 = Add(R0, a.A, with, firsts, ends, low, key),
            R1 = Add(R1, a.B, with, firsts, ends, low + 1, key),
            R2 = Add(R2, a.C, with, firsts, ends, low + 2, key),
            R3 = Add(R3, a.D, with, firsts, ends, low + 3, key),
            R4 = Add(R4, b.A, with, firsts, ends, high, key),
            R5 = Add(R5, b.B, with, firsts, ends, high + 1, key),
            R6 = Add(R6, b.C, with, firsts, ends, high + 2, key),
            R7 = Add(R7, b.D, with, firsts, ends, high + 3, key),
        };
    }

    /// <summary>To a tile by rows.</summary>
    public readonly void Store(ArrayView<Four> tile, int down, int side, int across, int pitch)
    {
        int low = 4 * down * pitch + across, high = 4 * (side + down) * pitch + across;
        tile[low] = R0;
        tile[low + pitch] = R1;
        tile[low + 2 * pitch] = R2;
        tile[low + 3 * pitch] = R3;
        tile[high] = R4;
        tile[high + pitch] = R5;
        tile[high + 2 * pitch] = R6;
        tile[high + 3 * pitch] = R7;
    }

    private static Four Add(Four sum, float weight, Four with, ArrayView<int> firsts, ArrayView<int> ends, int row, int key)
    {
        bool sees = key >= firsts[row] && key < ends[row];
        Four next = Four.Fma(weight, with, sum);
        return new()
        {
            A = sees ? next.A : sum.A,
            B = sees ? next.B : sum.B,
            C = sees ? next.C : sum.C,
            D = sees ? next.D : sum.D,
        };
    }
}
