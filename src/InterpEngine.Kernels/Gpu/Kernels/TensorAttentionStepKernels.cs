using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// <see cref="TensorAttentionKernels"/> for up to 16 rows, as a step of a generation has: a group for each sequence, key/value head and piece of
/// keys (<see cref="AttentionPieces"/>), whose warps share the keys and then the channels. Every number is made by the same operations in the same order, so that the bits are
/// those of the whole text; keys and values are read where the cache has them. Heads have whole chunks of eight channels.
/// </summary>
internal static class TensorAttentionStepKernels
{
    /// <summary>The most rows: queries times heads that share a key.</summary>
    public const int MostRows = 16;

    private const int Threads = 256, Warps = Threads / 32;
    private const int TileKeys = TensorAttentionKernels.TileKeys;
    private const int MostBlocks = TensorAttentionKernels.LargestSize / 32;

    /// <summary>Numbers of a lane's softmaxes that <see cref="Attend"/> leaves for <see cref="Join"/>, and parts of a thread's output.</summary>
    public const int LaneNumbers = 4 * 32, OutputNumbers = 4 * 4 * Threads;

    /// <summary>
    /// Z, or where there may be several <paramref name="pieces"/> what <see cref="Join"/> needs of each: outputs, and of each lane maxima and
    /// sums. How many keys there are stands in <paramref name="keyCount"/> if that is not empty.
    /// </summary>
    [Kernel(Threads, typeof(PlainScore), Groups = 1)]
    [Kernel(Threads, typeof(SlopedScore), Groups = 1)]
    [Kernel(Threads, typeof(CappedScore), Groups = 1)]
    public static void Attend<TScore>(
        ArrayView<float> q, ArrayView<float> k, ArrayView<float> v, ArrayView<int> sequences, ArrayView<int> keyCount,
        ArrayView<float> slopes, ArrayView<float> sinks, ArrayView<Sum4> outputs, ArrayView<Sum4> softmaxes, ArrayView<float> z,
        ArrayView<ushort> zNarrow, int pieces, int queries, int heads, int kvHeads, int size, int valueSize, int capacity, int keys, int window,
        int causal, float scale, float cap)
        where TScore : struct, IScore
    {
        TScore rule = default;
        ArrayView<Bits4> queriesAt = SharedMemory.Allocate<Bits4>(MostBlocks * 64);
        ArrayView<Bits4> weights = SharedMemory.Allocate<Bits4>(Warps * 4 * 32);
        ArrayView<float> tileMax = SharedMemory.Allocate<float>(Warps * MostRows), factors = SharedMemory.Allocate<float>(Warps * MostRows);
        ArrayView<float> sums = SharedMemory.Allocate<float>(Warps * 64), scales = SharedMemory.Allocate<float>(MostRows);
        ArrayView<ScoreRow> rows = SharedMemory.Allocate<ScoreRow>(MostRows);
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        int thread = Group.IdxX, lane = thread & 31, warp = thread >> 5, shares = heads / kvHeads, count = queries * shares;
        int kvHead = Grid.IdxX / pieces % kvHeads, batch = Grid.IdxX / pieces / kvHeads, blocks = (size + 31) / 32;
        int begin = sequences[2 * batch], end = sequences[2 * batch + 1];
        int first = TensorAttentionKernels.FirstKey(0, shares, begin, queries, keys, window);
        int last = TensorAttentionKernels.LastKey(count - 1, shares, end, queries, keys, window, causal);
        if (pieces > 1)
        {
            int piece = begin + Grid.IdxX % pieces * AttentionPieces.Keys;
            first = IntrinsicMath.Max(first, piece);
            last = IntrinsicMath.Min(last, piece + AttentionPieces.Keys);
            if (first >= last)
            {
                return;
            }
        }

        if (thread < MostRows)
        {
            rows[thread] = TensorAttentionKernels.Row(
                thread, shares, kvHead, batch, begin, end, queries, keys, window, causal, heads, slopes, sinks);
        }

        Group.Barrier();
        LoadQueries(queriesAt, q, rows, blocks, size);
        var bend = new Bend(scale, cap);
        float unit = rule.Unit(scale);

        // Each warp has the running maxima, sums and its own channels' output in registers; all have the same of the first two.
        Softmax softmax = Softmax.Begin;
        float sumLow = 0, sumHigh = 0;
        Sum4 out0 = default, out1 = default, out2 = default, out3 = default;
        Group.Barrier();
        for (int from = first; from < last; from += Warps * TileKeys)
        {
            int tiles = IntrinsicMath.Min(Warps, (last - from + TileKeys - 1) / TileKeys);
            Block64 scores = default;
            if (warp < tiles)
            {
                scores = Scores<TScore>(queriesAt, k, rows, batch, kvHead, kvHeads, capacity, size, blocks, from + warp * TileKeys, end, bend);
                Publish(tileMax, warp, scores);
            }

            Group.Barrier();
            if (warp < tiles)
            {
                Weigh(softmax, scores, unit, warp, tileMax, factors, sums, weights);
            }

            Group.Barrier();
            int low = lane >> 2;
            for (int tile = 0; tile < tiles; tile++)
            {
                float factorLow = factors[tile * MostRows + low], factorHigh = factors[tile * MostRows + low + 8];
                sumLow = Ptx.Fma(sumLow, factorLow, sums[tile * 64 + lane]);
                sumHigh = Ptx.Fma(sumHigh, factorHigh, sums[tile * 64 + 32 + lane]);
                softmax.MaxLow = Ptx.Max(softmax.MaxLow, tileMax[tile * MostRows + low] * unit);
                softmax.MaxHigh = Ptx.Max(softmax.MaxHigh, tileMax[tile * MostRows + low + 8] * unit);
                int key = from + tile * TileKeys;
                long values = ((long)batch * capacity * kvHeads + kvHead) * valueSize;
                out0 = Mix(out0, factorLow, factorHigh, weights, tile, v, values, kvHeads * valueSize, key, end, warp * 8, valueSize);
                if (valueSize > 64)
                {
                    out1 = Mix(out1, factorLow, factorHigh, weights, tile, v, values, kvHeads * valueSize, key, end, 64 + warp * 8, valueSize);
                }

                if (valueSize > 128)
                {
                    out2 = Mix(out2, factorLow, factorHigh, weights, tile, v, values, kvHeads * valueSize, key, end, 128 + warp * 8, valueSize);
                    out3 = Mix(out3, factorLow, factorHigh, weights, tile, v, values, kvHeads * valueSize, key, end, 192 + warp * 8, valueSize);
                }
            }

            Group.Barrier(); // all are done with the weights, whose place is filled next
        }

        if (pieces > 1)
        {
            long own = (long)Grid.IdxX * (4 * Threads) + thread;
            outputs[own] = out0;
            outputs[own + Threads] = out1;
            outputs[own + 2 * Threads] = out2;
            outputs[own + 3 * Threads] = out3;
            if (warp == 0)
            {
                softmaxes[(long)Grid.IdxX * 32 + lane] = new Sum4 { X = softmax.MaxLow, Y = softmax.MaxHigh, Z = sumLow, W = sumHigh };
            }

            return;
        }

        var all = new Sum4 { X = softmax.MaxLow, Y = softmax.MaxHigh, Z = sumLow, W = sumHigh };
        Finish(rows, count, all, out0, out1, out2, out3, z, zNarrow, valueSize);
    }

    /// <summary>Z from its pieces in their order, a group for each sequence and key/value head.</summary>
    [Kernel(Threads)]
    public static void Join(
        ArrayView<int> sequences, ArrayView<int> keyCount, ArrayView<float> sinks, ArrayView<Sum4> outputs, ArrayView<Sum4> softmaxes,
        ArrayView<float> z, ArrayView<ushort> zNarrow, int pieces, int queries, int heads, int kvHeads, int valueSize, int keys, int window, int causal)
    {
        ArrayView<ScoreRow> rows = SharedMemory.Allocate<ScoreRow>(MostRows);
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        int thread = Group.IdxX, lane = thread & 31, shares = heads / kvHeads, count = queries * shares;
        int kvHead = Grid.IdxX % kvHeads, batch = Grid.IdxX / kvHeads, begin = sequences[2 * batch], end = sequences[2 * batch + 1];
        if (thread < MostRows)
        {
            rows[thread] = TensorAttentionKernels.Row(
                thread, shares, kvHead, batch, begin, end, queries, keys, window, causal, heads, default, sinks);
        }

        Group.Barrier();
        int first = TensorAttentionKernels.FirstKey(0, shares, begin, queries, keys, window);
        int last = TensorAttentionKernels.LastKey(count - 1, shares, end, queries, keys, window, causal);
        var all = new Sum4 { X = float.NegativeInfinity, Y = float.NegativeInfinity };
        Sum4 out0 = default, out1 = default, out2 = default, out3 = default;
        for (int from = first; from < last; from = NextPiece(from, begin))
        {
            long group = (long)Grid.IdxX * pieces + (from - begin) / AttentionPieces.Keys, own = group * (4 * Threads) + thread;
            Sum4 later = softmaxes[group * 32 + lane];
            Meeting low = Meeting.Of(all.X, later.X), high = Meeting.Of(all.Y, later.Y);
            all = new Sum4 { X = low.Max, Y = high.Max, Z = low.Add(all.Z, later.Z), W = high.Add(all.W, later.W) };
            out0 = Meeting.Add(low, high, out0, outputs[own]);
            out1 = Meeting.Add(low, high, out1, outputs[own + Threads]);
            out2 = Meeting.Add(low, high, out2, outputs[own + 2 * Threads]);
            out3 = Meeting.Add(low, high, out3, outputs[own + 3 * Threads]);
        }

        Finish(rows, count, all, out0, out1, out2, out3, z, zNarrow, valueSize);
    }

    private static int NextPiece(int key, int begin) => begin + ((key - begin) / AttentionPieces.Keys + 1) * AttentionPieces.Keys;

    /// <summary>Divides a thread's part of the outputs by the sums, and stores it.</summary>
    /// <param name="rows">The rows.</param>
    /// <param name="count">How many there are.</param>
    /// <param name="softmax">The lane's maxima, and its parts of the sums.</param>
    /// <param name="out0">Channels of the first 64.</param>
    /// <param name="out1">Of the next ones.</param>
    /// <param name="out2">Of the next ones.</param>
    /// <param name="out3">Of the last ones.</param>
    /// <param name="z">Where they go.</param>
    /// <param name="zNarrow">Or in BF16.</param>
    /// <param name="valueSize">Channels.</param>
    private static void Finish(
        ArrayView<ScoreRow> rows, int count, Sum4 softmax, Sum4 out0, Sum4 out1, Sum4 out2, Sum4 out3, ArrayView<float> z,
        ArrayView<ushort> zNarrow, int valueSize)
    {
        int lane = Group.IdxX & 31, low = lane >> 2, channel = (Group.IdxX >> 5) * 8 + (lane & 3) * 2;
        ScoreRow rowLow = rows[low], rowHigh = rows[low + 8];
        float byLow = TensorAttentionKernels.Finish(rowLow, softmax.X, TensorAttentionKernels.OfQuad(softmax.Z), default);
        float byHigh = TensorAttentionKernels.Finish(rowHigh, softmax.Y, TensorAttentionKernels.OfQuad(softmax.W), default);
        long placeLow = low < count ? rowLow.Place * valueSize : -1, placeHigh = low + 8 < count ? rowHigh.Place * valueSize : -1;
        Store(z, zNarrow, placeLow, placeHigh, channel, valueSize, out0, byLow, byHigh);
        Store(z, zNarrow, placeLow, placeHigh, channel + 64, valueSize, out1, byLow, byHigh);
        Store(z, zNarrow, placeLow, placeHigh, channel + 128, valueSize, out2, byLow, byHigh);
        Store(z, zNarrow, placeLow, placeHigh, channel + 192, valueSize, out3, byLow, byHigh);
    }

    /// <summary>Queries as the instruction's A, for each block of 32 channels the registers of two instructions.</summary>
    private static void LoadQueries(
        ArrayView<Bits4> to, ArrayView<float> q, ArrayView<ScoreRow> rows, int blocks, int size)
    {
        for (int i = Group.IdxX; i < blocks * 32; i += Threads)
        {
            int lane = i & 31, chunk = (i >> 5) * 4 + (lane & 3);
            Both<Bits4> operand = TensorRowKernels.Operand(
                Chunk(q, rows[lane >> 2].Place * size, chunk, size), Chunk(q, rows[(lane >> 2) + 8].Place * size, chunk, size));
            to[(i >> 5) * 64 + lane] = operand.First;
            to[(i >> 5) * 64 + 32 + lane] = operand.Last;
        }
    }

    /// <summary>A chunk of a head that begins at an element, rounded; zeros where there is none.</summary>
    private static Bits4 Chunk(ArrayView<float> x, long from, int chunk, int size)
    {
        Bits4 bits = default;
        if (from >= 0 && chunk * 8 < size)
        {
            ArrayView<Four> fours = x.Cast<Four>();
            Four first = fours[(from >> 2) + chunk * 2], last = fours[(from >> 2) + chunk * 2 + 1];
            bits.X = Ptx.PackBf16(first.A, first.B);
            bits.Y = Ptx.PackBf16(first.C, first.D);
            bits.Z = Ptx.PackBf16(last.A, last.B);
            bits.W = Ptx.PackBf16(last.C, last.D);
        }

        return bits;
    }

    /// <summary>A tile's scores for the lane's rows, −∞ where a row does not see a key.</summary>
    private static Block64 Scores<TScore>(
        ArrayView<Bits4> queriesAt, ArrayView<float> k, ArrayView<ScoreRow> rows, int batch, int kvHead, int kvHeads, int capacity, int size,
        int blocks, int key, int end, Bend bend)
        where TScore : struct, IScore
    {
        int lane = Group.IdxX & 31, laneKey = key + (lane & 3) * 2;
        long from = ((long)batch * capacity * kvHeads + kvHead) * size;
        Block64 dots = default;
        for (int block = 0; block < blocks; block++)
        {
            var query = new Both<Bits4> { First = queriesAt[block * 64 + lane], Last = queriesAt[block * 64 + 32 + lane] };
            int own = key + (lane >> 2), chunk = block * 4 + (lane & 3), stride = kvHeads * size;
            Bits4 k0 = Key(k, from, stride, own, end, chunk, size), k1 = Key(k, from, stride, own + 8, end, chunk, size);
            Bits4 k2 = Key(k, from, stride, own + 16, end, chunk, size), k3 = Key(k, from, stride, own + 24, end, chunk, size);
            Bits4 k4 = Key(k, from, stride, own + 32, end, chunk, size), k5 = Key(k, from, stride, own + 40, end, chunk, size);
            Bits4 k6 = Key(k, from, stride, own + 48, end, chunk, size), k7 = Key(k, from, stride, own + 56, end, chunk, size);
            dots.T0 = Block64.Multiply(dots.T0, query, k0);
            dots.T1 = Block64.Multiply(dots.T1, query, k1);
            dots.T2 = Block64.Multiply(dots.T2, query, k2);
            dots.T3 = Block64.Multiply(dots.T3, query, k3);
            dots.T4 = Block64.Multiply(dots.T4, query, k4);
            dots.T5 = Block64.Multiply(dots.T5, query, k5);
            dots.T6 = Block64.Multiply(dots.T6, query, k6);
            dots.T7 = Block64.Multiply(dots.T7, query, k7);
        }

        ScoreRow low = rows[lane >> 2], high = rows[(lane >> 2) + 8];
        return dots.Scores<TScore>(low, high, laneKey, bend).Seen(low, high, laneKey);
    }

    private static Bits4 Key(ArrayView<float> k, long from, int stride, int key, int end, int chunk, int size) =>
        Chunk(k, key >= 0 && key < end ? from + (long)key * stride : -1, chunk, size);

    /// <summary>A tile's largest score of each row.</summary>
    private static void Publish(ArrayView<float> tileMax, int tile, Block64 scores)
    {
        int lane = Group.IdxX & 31;
        float low = Softmax.OfQuad(scores.MaxLow()), high = Softmax.OfQuad(scores.MaxHigh());
        if ((lane & 3) == 0)
        {
            tileMax[tile * MostRows + (lane >> 2)] = low;
            tileMax[tile * MostRows + (lane >> 2) + 8] = high;
        }
    }

    /// <summary>A tile's weights, what the sums and outputs before it are multiplied with, and its part of the sums.</summary>
    private static void Weigh(
        Softmax softmax, Block64 scores, float unit, int tile, ArrayView<float> tileMax, ArrayView<float> factors, ArrayView<float> sums,
        ArrayView<Bits4> weights)
    {
        int lane = Group.IdxX & 31, row = lane >> 2;
        for (int i = 0; i < tile; i++)
        {
            softmax.MaxLow = Ptx.Max(softmax.MaxLow, tileMax[i * MostRows + row] * unit);
            softmax.MaxHigh = Ptx.Max(softmax.MaxHigh, tileMax[i * MostRows + row + 8] * unit);
        }

        softmax = softmax.Raise(tileMax[tile * MostRows + row], tileMax[tile * MostRows + row + 8], unit);
        Block64 weight = scores.Weights(unit, softmax.FromLow, softmax.FromHigh);
        if ((lane & 3) == 0)
        {
            factors[tile * MostRows + row] = softmax.FactorLow;
            factors[tile * MostRows + row + 8] = softmax.FactorHigh;
        }

        sums[tile * 64 + lane] = weight.SumLow();
        sums[tile * 64 + 32 + lane] = weight.SumHigh();
        weights[tile * 128 + lane] = Block64.Pack(weight.T0, weight.T1);
        weights[tile * 128 + 32 + lane] = Block64.Pack(weight.T2, weight.T3);
        weights[tile * 128 + 64 + lane] = Block64.Pack(weight.T4, weight.T5);
        weights[tile * 128 + 96 + lane] = Block64.Pack(weight.T6, weight.T7);
    }

    /// <summary>Eight channels of the output with a tile's values.</summary>
    private static Sum4 Mix(
        Sum4 output, float low, float high, ArrayView<Bits4> weights, int tile, ArrayView<float> v, long from, int stride, int key, int end,
        int channel, int valueSize)
    {
        int lane = Group.IdxX & 31, own = channel + (lane >> 2), first = key + (lane & 3) * 2;
        bool there = own < valueSize;
        uint v0 = Values(v, from + own, stride, first, end, there), v1 = Values(v, from + own, stride, first + 8, end, there);
        uint v2 = Values(v, from + own, stride, first + 16, end, there), v3 = Values(v, from + own, stride, first + 24, end, there);
        uint v4 = Values(v, from + own, stride, first + 32, end, there), v5 = Values(v, from + own, stride, first + 40, end, there);
        uint v6 = Values(v, from + own, stride, first + 48, end, there), v7 = Values(v, from + own, stride, first + 56, end, there);
        output = new Sum4 { X = output.X * low, Y = output.Y * low, Z = output.Z * high, W = output.W * high };
        output = Block64.Multiply(output, weights[tile * 128 + lane], v0, v1);
        output = Block64.Multiply(output, weights[tile * 128 + 32 + lane], v2, v3);
        output = Block64.Multiply(output, weights[tile * 128 + 64 + lane], v4, v5);
        return Block64.Multiply(output, weights[tile * 128 + 96 + lane], v6, v7);
    }

    /// <summary>A channel of two neighbouring keys; zeros where there is none.</summary>
    private static uint Values(ArrayView<float> v, long at, int stride, int key, int end, bool there)
    {
        float first = 0, last = 0;
        if (there && key >= 0 && key < end)
        {
            first = v[at + (long)key * stride];
        }

        if (there && key + 1 >= 0 && key + 1 < end)
        {
            last = v[at + (long)(key + 1) * stride];
        }

        return Ptx.PackBf16(first, last);
    }

    private static void Store(
        ArrayView<float> z, ArrayView<ushort> narrow, long low, long high, int channel, int end, Sum4 sum, float byLow, float byHigh) =>
        Block64.Store(
            z, narrow, low, high, channel, end, new Sum4 { X = sum.X * byLow, Y = sum.Y * byLow, Z = sum.Z * byHigh, W = sum.W * byHigh });
}
