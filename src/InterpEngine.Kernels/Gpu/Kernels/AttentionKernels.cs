using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Attention of any shape and option on ordinary cores, a group for each sequence, head and query. Scores lie in shared memory, as many
/// keys as fit at a time: where there are more, they are computed anew for the maximum, the sum and the weights. Observed scores and
/// patterns are stores on the way.
/// </summary>
internal static class AttentionKernels
{
    /// <summary>Keys whose scores lie in shared memory.</summary>
    public const int Held = 4096;

    /// <summary>Threads of a group, which are the lanes of a softmax's sum.</summary>
    public const int Threads = 128;

    /// <summary>Keys of a piece. Z is a chain along each piece, which count from the sequence's first token, and the pieces' sums are added in
    /// their order: so groups can share a long cache.</summary>
    public const int Piece = 256;

    public const int GivenScores = 1;
    public const int GivenPattern = 2;

    /// <summary>What is given is scores or the pattern, as its kind says.</summary>
    [Kernel(Threads)]
    public static void Attend(
        ArrayView<float> q, ArrayView<float> k, ArrayView<float> v, ArrayView<int> spans, ArrayView<int> keyCount, ArrayView<float> given, int kind,
        ArrayView<float> slopes, ArrayView<float> sinks, ArrayView<float> scores, ArrayView<float> pattern, ArrayView<float> z,
        ArrayView<ushort> zNarrow, int queries, int heads, int kvHeads, int size, int valueSize, int capacity, int keys, int window, int causal, float scale,
        float cap)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch), held = SharedMemory.Allocate<float>(Held);
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        int query = Grid.IdxX % queries, head = Grid.IdxX / queries % heads, batch = Grid.IdxX / queries / heads;
        VisibleKeys seen = VisibleKeys.Of(spans, batch, query, queries, keys, window, causal);
        int first = seen.First, last = seen.End;
        long square = (((long)batch * heads + head) * queries + query) * keys;
        long place = ((long)batch * queries + query) * heads + head, token = place * size;
        int shared = head / (heads / kvHeads);
        long keyRow = ((long)batch * capacity * kvHeads + shared) * size, valueRow = ((long)batch * capacity * kvHeads + shared) * valueSize;
        Outside(scores, square, keys, seen, float.NegativeInfinity);
        Outside(pattern, square, keys, seen, 0);
        bool hasZ = z.Length != 0 || zNarrow.Length != 0, mixing = pattern.Length != 0 || hasZ, fits = last - first <= Held;
        float sink = sinks.Length != 0 ? sinks[head] : float.NegativeInfinity, slope = slopes.Length != 0 ? slopes[head] : 0;
        float max = sink, factor = 1;

        int lane = Lane(seen);
        if (scores.Length != 0 || (mixing && kind != GivenPattern))
        {
            for (int tile = first; tile < last; tile += Held)
            {
                int stop = IntrinsicMath.Min(last, tile + Held);
                for (int j = tile + lane; j < stop; j += Group.DimX)
                {
                    float score = Score(q, token, k, keyRow, kvHeads, size, given, square, kind, j, seen.Begin, scale, cap, slope, slopes.Length != 0);
                    max = Elementary.Max(max, score);
                    held[j - tile] = score;
                    if (scores.Length != 0)
                    {
                        scores[square + j] = score;
                    }
                }
            }
        }

        if (mixing && kind != GivenPattern)
        {
            max = GroupTree.Max(max, scratch);
            float sum = 0;
            for (int tile = first; tile < last; tile += Held)
            {
                int stop = IntrinsicMath.Min(last, tile + Held);
                for (int j = tile + lane; j < stop; j += Group.DimX)
                {
                    float score = fits
                        ? held[j - tile]
                        : Score(q, token, k, keyRow, kvHeads, size, given, square, kind, j, seen.Begin, scale, cap, slope, slopes.Length != 0);
                    sum += Elementary.Exp(score - max);
                }
            }

            sum = GroupTree.Sum(sum, scratch);
            factor = 1 / (sinks.Length != 0 ? sum + Elementary.Exp(sink - max) : sum);
        }

        if (!mixing)
        {
            return;
        }

        for (int channels = 0; channels == 0 || (hasZ && channels < valueSize); channels += Group.DimX)
        {
            int channel = channels + Group.IdxX;
            float mixed = 0, total = 0;
            for (int tile = first; tile < last; tile += Held)
            {
                int stop = IntrinsicMath.Min(last, tile + Held);
                if (channels == 0 || !fits)
                {
                    Group.Barrier();
                    for (int j = tile + lane; j < stop; j += Group.DimX)
                    {
                        float weight;
                        if (kind == GivenPattern)
                        {
                            weight = given[square + j];
                        }
                        else
                        {
                            float score = fits
                                ? held[j - tile]
                                : Score(q, token, k, keyRow, kvHeads, size, given, square, kind, j, seen.Begin, scale, cap, slope, slopes.Length != 0);
                            weight = Elementary.Exp(score - max) * factor;
                        }

                        held[j - tile] = weight;
                        if (pattern.Length != 0)
                        {
                            pattern[square + j] = weight;
                        }
                    }

                    Group.Barrier();
                }

                int next;
                for (int j = tile; hasZ && channel < valueSize && j < stop; j = next)
                {
                    int ofPiece = (j - seen.Begin) % Piece;
                    if (ofPiece == 0)
                    {
                        total += mixed;
                        mixed = 0;
                    }

                    next = IntrinsicMath.Min(stop, j - ofPiece + Piece);
                    mixed = Mix(mixed, held, j - tile, v, valueRow + (long)j * kvHeads * valueSize + channel, kvHeads * valueSize, next - j);
                }
            }

            total += mixed;

            if (z.Length != 0 && channel < valueSize)
            {
                z[place * valueSize + channel] = total;
            }

            if (zNarrow.Length != 0 && channel < valueSize)
            {
                zNarrow[place * valueSize + channel] = (ushort)Elementary.RoundBF16(total);
            }
        }
    }

    /// <summary>The score of key j, of a chain over the channels.</summary>
    private static float Score(
        ArrayView<float> q, long token, ArrayView<float> k, long keyRow, int kvHeads, int size, ArrayView<float> given, long square,
        int kind, int j, int begin, float scale, float cap, float slope, bool sloped)
    {
        if (kind == GivenScores)
        {
            return given[square + j];
        }

        long key = keyRow + (long)j * kvHeads * size;
        float sum = 0;
        for (int i = 0; i < size; i++)
        {
            sum = Ptx.Fma(q[token + i], k[key + i], sum);
        }

        return Bend(sum, j - begin, scale, cap, slope, sloped);
    }

    /// <summary>A dot product's score: the scale, the cap, then the slope.</summary>
    public static float Bend(float dot, int distance, float scale, float cap, float slope, bool sloped)
    {
        float score = dot * scale;
        score = cap > 0 ? cap * Elementary.Tanh(score / cap) : score;
        return sloped ? Ptx.Fma(slope, distance, score) : score;
    }

    /// <summary>How many keys after its first a thread begins: the same lanes for every query of a sequence, whose first token has
    /// lane 0.</summary>
    public static int Lane(VisibleKeys seen) =>
        (Group.IdxX - (seen.First - seen.Begin) % Group.DimX + Group.DimX) % Group.DimX;

    /// <summary>What stands where the query sees no key.</summary>
    public static void Outside(ArrayView<float> output, long square, int keys, VisibleKeys seen, float value)
    {
        for (int j = Group.IdxX; output.Length != 0 && j < keys; j += Group.DimX)
        {
            if (!seen.Has(j))
            {
                output[square + j] = value;
            }
        }
    }

    /// <summary>A channel with more values: a chain, but for what it reads, eight of which are on the way at a time.</summary>
    private static float Mix(float sum, ArrayView<float> weights, int i, ArrayView<float> v, long at, int stride, int count)
    {
        int end = i + count;
        for (; i + 8 <= end; i += 8)
        {
            float v0 = v[at], v1 = v[at + stride], v2 = v[at + 2L * stride], v3 = v[at + 3L * stride];
            float v4 = v[at + 4L * stride], v5 = v[at + 5L * stride], v6 = v[at + 6L * stride], v7 = v[at + 7L * stride];
            sum = Ptx.Fma(weights[i], v0, sum);
            sum = Ptx.Fma(weights[i + 1], v1, sum);
            sum = Ptx.Fma(weights[i + 2], v2, sum);
            sum = Ptx.Fma(weights[i + 3], v3, sum);
            sum = Ptx.Fma(weights[i + 4], v4, sum);
            sum = Ptx.Fma(weights[i + 5], v5, sum);
            sum = Ptx.Fma(weights[i + 6], v6, sum);
            sum = Ptx.Fma(weights[i + 7], v7, sum);
            at += 8L * stride;
        }

        for (; i < end; i++)
        {
            sum = Ptx.Fma(weights[i], v[at], sum);
            at += stride;
        }

        return sum;
    }
}
