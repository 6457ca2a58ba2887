using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// <see cref="AttentionKernels"/> for a few queries and many keys, which groups share: one for each sequence, key/value head and piece of
/// keys, pieces first. Four heads share what is read. Every number is made by the same operations in the same order. Where
/// <c>keyCount</c> has fewer keys than there may be, the last pieces have none.
/// </summary>
internal static class PiecedAttentionKernels
{
    private const int Piece = AttentionKernels.Piece;

    /// <summary>Heads that are made together.</summary>
    private const int Together = 4;

    /// <summary>Scores, those of all keys if <paramref name="complete"/>: −∞ where a query does not see a key.</summary>
    [Kernel(128, typeof(AtOnce), Groups = 8)]
    [Kernel(128, typeof(OneByOne), Groups = 8)]
    public static void Score<TAccess>(
        ArrayView<float> q, ArrayView<float> k, ArrayView<int> spans, ArrayView<int> keyCount, ArrayView<float> slopes, ArrayView<float> scores,
        long pairStride, int complete, int firstPair, int pieces, int queries, int heads, int kvHeads, int size, int capacity, int keys,
        int window, int causal, float scale, float cap)
        where TAccess : struct, IAccess
    {
        int room = keys, shares = heads / kvHeads, ofPair = Grid.IdxX / pieces * shares, pair = firstPair + ofPair;
        int batch = pair / heads, head = pair % heads;
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        VisibleKeys any = VisibleKeys.OfAny(spans, batch, 0, queries - 1, queries, keys, window, causal);
        int from = Grid.IdxX % pieces * Piece, to = IntrinsicMath.Min(room, from + Piece);
        if (complete == 0 && (to <= any.First || from >= any.End))
        {
            return;
        }

        long keyRow = ((long)batch * capacity * kvHeads + head / shares) * size;
        for (int key = from + Group.IdxX; key < to; key += Group.DimX)
        {
            for (int query = 0; query < queries; query++)
            {
                bool seen = VisibleKeys.Of(spans, batch, query, queries, keys, window, causal).Has(key);
                for (int share = 0; share < shares && (seen || complete != 0); share += Together)
                {
                    int count = IntrinsicMath.Min(Together, shares - share), first = head + share;
                    Four dots = default;
                    if (seen)
                    {
                        dots = Dots<TAccess>(
                            q, (((long)batch * queries + query) * heads + first) * size, count, k, keyRow + (long)key * kvHeads * size, size);
                    }

                    long at = (ofPair + share) * pairStride + (long)query * room + key;
                    for (int i = 0; i < count; i++)
                    {
                        float dot = i < 2 ? i == 0 ? dots.A : dots.B : i == 2 ? dots.C : dots.D;
                        float slope = slopes.Length != 0 ? slopes[first + i] : 0;
                        scores[at + i * pairStride] = seen
                            ? AttentionKernels.Bend(dot, key - any.Begin, scale, cap, slope, slopes.Length != 0)
                            : float.NegativeInfinity;
                    }
                }
            }
        }
    }

    /// <summary>Each piece's part of Z, [pieces, pairs, queries, value size], where a query sees keys of the piece.</summary>
    [Kernel(128)]
    public static void Mix(
        ArrayView<float> weights, long pairStride, ArrayView<float> v, ArrayView<int> spans, ArrayView<int> keyCount, ArrayView<float> sums,
        int firstPair, int pairs, int pieces, int queries, int heads, int kvHeads, int valueSize, int capacity, int keys, int window, int causal)
    {
        ArrayView<Four> held = SharedMemory.Allocate<Four>(Piece);
        int room = keys, shares = heads / kvHeads, piece = Grid.IdxX % pieces, ofPair = Grid.IdxX / pieces * shares;
        int batch = (firstPair + ofPair) / heads, kvHead = (firstPair + ofPair) % heads / shares;
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        for (int query = 0; query < queries; query++)
        {
            VisibleKeys seen = VisibleKeys.Of(spans, batch, query, queries, keys, window, causal);
            int from = seen.Begin + piece * Piece, first = IntrinsicMath.Max(from, seen.First), count = IntrinsicMath.Min(from + Piece, seen.End) - first;
            for (int share = 0; share < shares && count > 0; share += Together)
            {
                // Where there are fewer heads, the others are the last one again.
                long at = (ofPair + share) * pairStride + (long)query * room + first;
                int last = IntrinsicMath.Min(Together, shares - share) - 1;
                Group.Barrier();
                for (int i = Group.IdxX; i < count; i += Group.DimX)
                {
                    held[i] = new Four
                    {
                        A = weights[at + i],
                        B = weights[at + IntrinsicMath.Min(1, last) * pairStride + i],
                        C = weights[at + IntrinsicMath.Min(2, last) * pairStride + i],
                        D = weights[at + last * pairStride + i],
                    };
                }

                Group.Barrier();
                long to = (((long)piece * pairs + ofPair + share) * queries + query) * valueSize, next = (long)queries * valueSize;
                for (int channel = Group.IdxX; channel < valueSize; channel += Group.DimX)
                {
                    long value = (((long)batch * capacity + first) * kvHeads + kvHead) * valueSize + channel;
                    Four mixed = Chain(held, v, value, kvHeads * valueSize, count);
                    sums[to + channel] = mixed.A;
                    if (last > 0)
                    {
                        sums[to + next + channel] = mixed.B;
                    }

                    if (last > 1)
                    {
                        sums[to + 2 * next + channel] = mixed.C;
                    }

                    if (last > 2)
                    {
                        sums[to + 3 * next + channel] = mixed.D;
                    }
                }
            }
        }
    }

    /// <summary>Z from its pieces in their order, a group for each pair and query.</summary>
    [Kernel(128)]
    public static void Add(
        ArrayView<float> sums, ArrayView<int> spans, ArrayView<int> keyCount, ArrayView<float> z, ArrayView<ushort> zNarrow, int firstPair,
        int pairs, int queries, int heads, int valueSize, int keys, int window, int causal)
    {
        int pair = firstPair + Grid.IdxX / queries, batch = pair / heads, query = Grid.IdxX % queries;
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        VisibleKeys seen = VisibleKeys.Of(spans, batch, query, queries, keys, window, causal);
        int first = (seen.First - seen.Begin) / Piece, end = seen.End > seen.First ? (seen.End - 1 - seen.Begin) / Piece + 1 : first;
        long row = (((long)batch * queries + query) * heads + pair % heads) * valueSize, pitch = (long)pairs * queries * valueSize;
        for (int channel = Group.IdxX; channel < valueSize; channel += Group.DimX)
        {
            float total = 0;
            long at = first * pitch + (long)Grid.IdxX * valueSize + channel;
            for (int piece = first; piece < end; piece++)
            {
                total += sums[at];
                at += pitch;
            }

            if (zNarrow.Length != 0)
            {
                zNarrow[row + channel] = (ushort)Elementary.RoundBF16(total);
            }
            else
            {
                z[row + channel] = total;
            }
        }
    }

    /// <summary>A key's products with the queries of up to four heads. Of the key, sixteen channels are on the way at a time.</summary>
    private static Four Dots<TAccess>(ArrayView<float> q, long at, int count, ArrayView<float> k, long key, int size)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        Four sums = default;
        int i = 0;
        for (; i + 16 <= size; i += 16)
        {
            Four k0 = access.Load(k, key + i, 4), k1 = access.Load(k, key + i + 4, 4);
            Four k2 = access.Load(k, key + i + 8, 4), k3 = access.Load(k, key + i + 12, 4);
            sums = Dots<TAccess>(sums, q, at + i, count, size, k0);
            sums = Dots<TAccess>(sums, q, at + i + 4, count, size, k1);
            sums = Dots<TAccess>(sums, q, at + i + 8, count, size, k2);
            sums = Dots<TAccess>(sums, q, at + i + 12, count, size, k3);
        }

        for (; i + 4 <= size; i += 4)
        {
            sums = Dots<TAccess>(sums, q, at + i, count, size, access.Load(k, key + i, 4));
        }

        for (; i < size; i++)
        {
            float with = k[key + i];
            sums.A = Ptx.Fma(q[at + i], with, sums.A);
            sums.B = count > 1 ? Ptx.Fma(q[at + size + i], with, sums.B) : 0;
            sums.C = count > 2 ? Ptx.Fma(q[at + 2L * size + i], with, sums.C) : 0;
            sums.D = count > 3 ? Ptx.Fma(q[at + 3L * size + i], with, sums.D) : 0;
        }

        return sums;
    }

    /// <summary>With four channels more.</summary>
    private static Four Dots<TAccess>(Four sums, ArrayView<float> q, long at, int count, int size, Four key) where TAccess : struct, IAccess
    {
        TAccess access = default;
        return new Four
        {
            A = Chain(access.Load(q, at, 4), key, sums.A),
            B = Chain(access.Load(q, at + size, count > 1 ? 4 : 0), key, sums.B),
            C = Chain(access.Load(q, at + 2L * size, count > 2 ? 4 : 0), key, sums.C),
            D = Chain(access.Load(q, at + 3L * size, count > 3 ? 4 : 0), key, sums.D),
        };
    }

    private static float Chain(Four a, Four b, float sum) =>
        Ptx.Fma(a.D, b.D, Ptx.Fma(a.C, b.C, Ptx.Fma(a.B, b.B, Ptx.Fma(a.A, b.A, sum))));

    /// <summary>A channel of the values with the weights of four heads: chains, but for what they read, sixteen of which are on the way at
    /// a time.</summary>
    private static Four Chain(ArrayView<Four> weights, ArrayView<float> v, long at, int stride, int count)
    {
        Four sums = default;
        int i = 0;
        for (; i + 16 <= count; i += 16)
        {
            Eight first = Eight.Load(v, at, stride), last = Eight.Load(v, at + 8L * stride, stride);
            sums = Add(Add(sums, first, weights, i), last, weights, i + 8);
            at += 16L * stride;
        }

        for (; i < count; i++)
        {
            sums = Four.Fma(v[at], weights[i], sums);
            at += stride;
        }

        return sums;
    }

    private static Four Add(Four sums, Eight v, ArrayView<Four> weights, int i)
    {
        sums = Four.Fma(v.V0, weights[i], sums);
        sums = Four.Fma(v.V1, weights[i + 1], sums);
        sums = Four.Fma(v.V2, weights[i + 2], sums);
        sums = Four.Fma(v.V3, weights[i + 3], sums);
        sums = Four.Fma(v.V4, weights[i + 4], sums);
        sums = Four.Fma(v.V5, weights[i + 5], sums);
        sums = Four.Fma(v.V6, weights[i + 6], sums);
        return Four.Fma(v.V7, weights[i + 7], sums);
    }
}
