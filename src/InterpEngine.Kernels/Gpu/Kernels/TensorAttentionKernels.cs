using ILGPU;
using ILGPU.Runtime;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Attention on tensor cores: Q, K, V and the weights are rounded to BF16, sums and the softmax are fp32 with its maximum and sum
/// on the way (Milakov and Gimelshein, 2018; Dao et al., 2022). A group makes 64 rows, a row being a query of one of the heads
/// that share a key: so one token's heads fill a tile together.
/// </summary>
/// <remarks>
/// Keys are taken in tiles of 64 that count from the sequence's first token, and a tile of which a row sees nothing leaves its
/// numbers as they are: a row's bits depend on its own sequence alone. A NaN among the values of a tile reaches the rows that see
/// another key of it.
/// </remarks>
internal static class TensorAttentionKernels
{
    /// <summary>Rows of a group: a warp has 16.</summary>
    public const int TileRows = 64;

    /// <summary>Keys of a tile.</summary>
    public const int TileKeys = 64;

    /// <summary>The largest head.</summary>
    public const int LargestSize = 256;

    private const int BlockChannels = 32, BlockChunks = 4; // 64 bytes: one step of two instructions
    private const int Threads = 128;

    /// <summary>What a group's shared memory may take on every architecture.</summary>
    private const int LargestShared = 96 << 10;

    /// <summary>Bytes of shared memory: queries, and as many tiles of keys and values, in BF16.</summary>
    public static int SharedBytes(int size, int channels, int stages) =>
        ((1 + stages) * Blocks(size) * BlockChunks + stages * channels / 8) * TileRows * 16;

    /// <summary>Tiles in shared memory: two where they fit, so that one is copied while the other is worked on.</summary>
    public static int Stages(int size, int channels) => SharedBytes(size, channels, 2) <= LargestShared ? 2 : 1;

    /// <summary>Keys or values of all heads, rounded: the first <paramref name="keys"/> of each sequence, each in whole
    /// chunks.</summary>
    [Kernel(256)]
    public static void RoundKeys(
        ArrayView<float> x, int batch, int capacity, int keys, int heads, int size, int chunks, int aligned,
        ArrayView<Bits4> rounded)
    {
        BF16Tensor format = default;
        long tokens = (long)keys * heads, count = batch * tokens * chunks, step = (long)Grid.DimX * Group.DimX;
        for (long i = (long)Grid.IdxX * Group.DimX + Group.IdxX; i < count; i += step)
        {
            long row = i / chunks, sequence = row / tokens;
            long from = (sequence * capacity * heads + row - sequence * tokens) * size;
            rounded[i] = format.Round(x, from, (int)(i - row * chunks), size, aligned != 0);
        }
    }

    /// <summary>Z, and of each row the maximum (in units of log 2) and the reciprocal of the sum. Where a head has more channels
    /// than registers hold, several groups make a part of them each.</summary>
    [Kernel(Threads, typeof(Block64), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Pair<Block64>), Groups = 2, DynamicBytes = LargestShared)]
    public static void Attend<TChannels>(
        ArrayView<float> q, ArrayView<Bits4> k, ArrayView<Bits4> v, ArrayView<int> spans, ArrayView<float> slopes,
        ArrayView<float> sinks, ArrayView<float> statistics, ArrayView<float> z, int queries, int heads, int kvHeads, int size,
        int valueSize, int keys, int window, int causal, float scale, float cap, int parts, int stages, int aligned)
        where TChannels : struct, IChannels<TChannels>
    {
        TChannels output = default;
        ArrayView<Bits4> shared = SharedMemory.GetDynamic<Bits4>();
        ArrayView<uint> words = shared.Cast<uint>();
        int shares = heads / kvHeads, tiles = (queries * shares + TileRows - 1) / TileRows;
        int tile = Grid.IdxX % tiles, part = Grid.IdxX / tiles % parts, kvHead = Grid.IdxX / tiles / parts % kvHeads;
        int batch = Grid.IdxX / tiles / parts / kvHeads, channel = part * output.Chunks * 8;
        int lane = Group.IdxX % 32, row = tile * TileRows + Group.IdxX / 32 * 16 + lane / 4;
        int begin = spans[2 * batch], end = spans[2 * batch + 1], blocks = Blocks(size);
        ScoreRow low = Row(row, shares, kvHead, begin, end, queries, keys, window, causal, slopes);
        ScoreRow high = Row(row + 8, shares, kvHead, begin, end, queries, keys, window, causal, slopes);
        LoadQueries(shared, q, batch, tile, kvHead, shares, queries, heads, size, aligned != 0);
        int keyChunks = blocks * TileKeys * BlockChunks, pitch = output.Chunks, stageChunks = keyChunks + TileKeys * pitch;
        long cache = ((long)batch * keys * kvHeads) + kvHead;
        int sizeChunks = (size + 7) / 8, valueChunks = (valueSize + 7) / 8;
        int stage = keyChunks; // behind the queries, which are as many
        float maxLow = float.NegativeInfinity, maxHigh = float.NegativeInfinity, sumLow = 0, sumHigh = 0;
        int key = FirstKey(tile, shares, begin, queries, keys, window), last = LastKey(tile, shares, end, queries, keys, window,
            causal);
        if (stages == 2)
        {
            BeginKeys(shared, stage, k, cache, kvHeads, sizeChunks, blocks, key, end);
            BeginValues(shared, stage + keyChunks, pitch, v, cache, kvHeads, valueChunks, channel / 8, key, end);
            Ptx.CpAsyncCommit();
        }

        for (; key < last; key += TileKeys)
        {
            // With two stages, the next tile is copied while this one is worked on.
            int next = stages == 2 ? 2 * keyChunks + stageChunks - stage : stage, from = stages == 2 ? key + TileKeys : key;
            BeginKeys(shared, next, k, cache, kvHeads, sizeChunks, blocks, from, from < last ? end : 0);
            BeginValues(shared, next + keyChunks, pitch, v, cache, kvHeads, valueChunks, channel / 8, from,
                from < last ? end : 0);
            Ptx.CpAsyncCommit();
            if (stages == 2)
            {
                Ptx.CpAsyncWaitAllButOne();
            }
            else
            {
                Ptx.CpAsyncWaitAll();
            }

            Group.Barrier();
            Block64 scores = Dots(shared, stage, blocks).Scores(low, high, key + lane % 4 * 2, scale, cap);
            float newLow = Elementary.Max(maxLow, OfQuad(scores.MaxLow()) * ScoreRow.Log2E);
            float newHigh = Elementary.Max(maxHigh, OfQuad(scores.MaxHigh()) * ScoreRow.Log2E);

            // A row that has seen nothing yet has maximum −∞ and would make NaN of −∞ − −∞.
            float fromLow = newLow == float.NegativeInfinity ? 0 : newLow,
                fromHigh = newHigh == float.NegativeInfinity ? 0 : newHigh;
            float factorLow = Ptx.Exp2(maxLow - fromLow), factorHigh = Ptx.Exp2(maxHigh - fromHigh);
            maxLow = newLow;
            maxHigh = newHigh;
            scores = scores.Weights(fromLow, fromHigh);
            sumLow = Ptx.Fma(sumLow, factorLow, scores.SumLow());
            sumHigh = Ptx.Fma(sumHigh, factorHigh, scores.SumHigh());
            output = output.Scale(factorLow, factorHigh);
            int value = (stage + keyChunks + lane % 16 * pitch) * 4, chunk = lane / 16;
            output = output.Mix(Block64.Pack(scores.T0, scores.T1), words, value, lane % 8, chunk);
            output = output.Mix(Block64.Pack(scores.T2, scores.T3), words, value + 16 * pitch * 4, lane % 8, chunk);
            output = output.Mix(Block64.Pack(scores.T4, scores.T5), words, value + 32 * pitch * 4, lane % 8, chunk);
            output = output.Mix(Block64.Pack(scores.T6, scores.T7), words, value + 48 * pitch * 4, lane % 8, chunk);
            Group.Barrier(); // all are done with the tile, whose place is filled next
            stage = next;
        }

        Ptx.CpAsyncWaitAll();

        sumLow += Warp.ShuffleXor(sumLow, 1);
        sumHigh += Warp.ShuffleXor(sumHigh, 1);
        sumLow += Warp.ShuffleXor(sumLow, 2);
        sumHigh += Warp.ShuffleXor(sumHigh, 2);
        long atLow = Place(row, shares, kvHead, batch, queries, heads), atHigh = Place(row + 8, shares, kvHead, batch, queries,
            heads);
        float byLow = Finish(sinks, row, shares, kvHead, maxLow, sumLow, statistics, atLow, lane % 4 == 0 && part == 0);
        float byHigh = Finish(sinks, row + 8, shares, kvHead, maxHigh, sumHigh, statistics, atHigh, lane % 4 == 0 && part == 0);
        output.Scale(byLow, byHigh).Store(
            z, atLow < 0 ? long.MinValue : atLow * valueSize, atHigh < 0 ? long.MinValue : atHigh * valueSize,
            channel + lane % 4 * 2, valueSize);
    }

    /// <summary>Scores and pattern of the same rows, from the same products and the saved maxima and sums. Views may be
    /// empty.</summary>
    [Kernel(Threads, Groups = 3, DynamicBytes = 65536)]
    public static void Observe(
        ArrayView<float> q, ArrayView<Bits4> k, ArrayView<int> spans, ArrayView<float> slopes, ArrayView<float> statistics,
        ArrayView<float> scoresOut, ArrayView<float> pattern, int queries, int heads, int kvHeads, int size, int keys, int window,
        int causal, float scale, float cap, int aligned)
    {
        ArrayView<Bits4> shared = SharedMemory.GetDynamic<Bits4>();
        int shares = heads / kvHeads, tiles = (queries * shares + TileRows - 1) / TileRows;
        int tile = Grid.IdxX % tiles, kvHead = Grid.IdxX / tiles % kvHeads, batch = Grid.IdxX / tiles / kvHeads;
        int lane = Group.IdxX % 32, row = tile * TileRows + Group.IdxX / 32 * 16 + lane / 4;
        int begin = spans[2 * batch], end = spans[2 * batch + 1], blocks = Blocks(size), keysAt = blocks * TileRows * BlockChunks;
        ScoreRow low = Row(row, shares, kvHead, begin, end, queries, keys, window, causal, slopes);
        ScoreRow high = Row(row + 8, shares, kvHead, begin, end, queries, keys, window, causal, slopes);
        LoadQueries(shared, q, batch, tile, kvHead, shares, queries, heads, size, aligned != 0);
        long cache = ((long)batch * keys * kvHeads) + kvHead;
        long atLow = Place(row, shares, kvHead, batch, queries, heads), atHigh = Place(row + 8, shares, kvHead, batch, queries,
            heads);
        float maxLow = atLow < 0 ? 0 : statistics[2 * atLow], byLow = atLow < 0 ? 0 : statistics[2 * atLow + 1];
        float maxHigh = atHigh < 0 ? 0 : statistics[2 * atHigh], byHigh = atHigh < 0 ? 0 : statistics[2 * atHigh + 1];
        long squareLow = Square(row, shares, kvHead, batch, queries, heads, keys);
        long squareHigh = Square(row + 8, shares, kvHead, batch, queries, heads, keys);

        // All keys, also those that nobody sees: they have −∞ and 0. Tiles count from the sequence's first key.
        for (int key = begin - (begin + TileKeys - 1) / TileKeys * TileKeys; key < keys; key += TileKeys)
        {
            Group.Barrier();
            BeginKeys(shared, keysAt, k, cache, kvHeads, (size + 7) / 8, blocks, key, end);
            Ptx.CpAsyncCommit();
            Ptx.CpAsyncWaitAll();
            Group.Barrier();
            Block64 scores = Dots(shared, keysAt, blocks).Scores(low, high, key + lane % 4 * 2, scale, cap);
            int from = key + lane % 4 * 2;
            if (scoresOut.Length != 0)
            {
                StoreSquare(scoresOut, squareLow, squareHigh, from, keys, scores);
            }

            if (pattern.Length != 0)
            {
                StoreSquare(pattern, squareLow, squareHigh, from, keys, scores.Weights(maxLow, maxHigh).Scale(byLow, byHigh));
            }
        }
    }

    private static int Blocks(int size) => (size + BlockChannels - 1) / BlockChannels;

    private static ScoreRow Row(
        int row, int shares, int kvHead, int begin, int end, int queries, int keys, int window, int causal,
        ArrayView<float> slopes)
    {
        int query = row / shares, position = query + keys - queries, reach = window > 0 ? window : keys;
        bool there = query < queries && position >= begin && position < end;
        return new ScoreRow
        {
            Begin = begin,
            First = there ? IntrinsicMath.Max(begin, position - reach + 1) : 0,
            End = !there ? 0 : causal != 0 ? position + 1 : (int)IntrinsicMath.Min((long)end, (long)position + reach),
            Slope = slopes.Length != 0 ? slopes[kvHead * shares + row % shares] : 0,
        };
    }

    /// <summary>Where a row lies among [batch, queries, heads]; −1 for none.</summary>
    private static long Place(int row, int shares, int kvHead, int batch, int queries, int heads) =>
        row / shares < queries ? ((long)batch * queries + row / shares) * heads + kvHead * shares + row % shares : -1;

    /// <summary>Where a row lies among [batch, heads, queries, keys]; the smallest number for none.</summary>
    private static long Square(int row, int shares, int kvHead, int batch, int queries, int heads, int keys) =>
        row / shares < queries
            ? (((long)batch * heads + kvHead * shares + row % shares) * queries + row / shares) * keys
            : long.MinValue;

    /// <summary>The first tile that a row of the group may see.</summary>
    private static int FirstKey(int tile, int shares, int begin, int queries, int keys, int window)
    {
        int position = tile * TileRows / shares + keys - queries, reach = window > 0 ? window : keys;
        int first = IntrinsicMath.Max(begin, position - reach + 1);
        return begin + (first - begin) / TileKeys * TileKeys;
    }

    /// <summary>One past the last key that a row of the group may see.</summary>
    private static int LastKey(int tile, int shares, int end, int queries, int keys, int window, int causal)
    {
        int query = IntrinsicMath.Min((tile * TileRows + TileRows - 1) / shares, queries - 1), position = query + keys - queries;
        long reach = causal != 0 ? 1 : window > 0 ? window : keys;
        return (int)IntrinsicMath.Min((long)end, position + reach);
    }

    private static void LoadQueries(
        ArrayView<Bits4> shared, ArrayView<float> q, int batch, int tile, int kvHead, int shares, int queries, int heads,
        int size, bool aligned)
    {
        BF16Tensor format = default;
        for (int i = Group.IdxX; i < Blocks(size) * TileRows * BlockChunks; i += Threads)
        {
            int line = i / BlockChunks % TileRows, chunk = i / (TileRows * BlockChunks) * BlockChunks + i % BlockChunks;
            long place = Place(tile * TileRows + line, shares, kvHead, batch, queries, heads);
            Bits4 bits = default;
            if (place >= 0)
            {
                bits = format.Round(q, place * size, chunk, size, aligned);
            }

            shared[i] = bits;
        }
    }

    /// <summary>Begins to copy a tile of keys; zeros where there is none.</summary>
    private static void BeginKeys(
        ArrayView<Bits4> shared, int at, ArrayView<Bits4> k, long cache, int kvHeads, int chunks, int blocks, int key, int end)
    {
        for (int i = Group.IdxX; i < blocks * (TileKeys * BlockChunks); i += Threads)
        {
            int line = key + i / BlockChunks % TileKeys, chunk = i / (TileKeys * BlockChunks) * BlockChunks + i % BlockChunks;
            Copy(shared, at + i, k, (cache + (long)line * kvHeads) * chunks + chunk, line >= 0 && line < end && chunk < chunks);
        }
    }

    /// <summary>As <see cref="BeginKeys"/> for whole rows of values. Chunks change places within 128 bytes, so that eight rows'
    /// equal chunks meet different banks.</summary>
    private static void BeginValues(
        ArrayView<Bits4> shared, int at, int pitch, ArrayView<Bits4> v, long cache, int kvHeads, int chunks, int firstChunk,
        int key, int end)
    {
        for (int i = Group.IdxX; i < TileKeys * pitch; i += Threads)
        {
            int line = i / pitch, own = i % pitch, chunk = firstChunk + own;
            Copy(
                shared, at + line * pitch + (own ^ line % 8), v, (cache + (long)(key + line) * kvHeads) * chunks + chunk,
                key + line < end && chunk < chunks);
        }
    }

    private static void Copy(ArrayView<Bits4> shared, int to, ArrayView<Bits4> from, long at, bool there) => Ptx.CpAsync16(
        ref shared.Cast<uint>()[to * 4], ref from.Cast<uint>()[there ? at * 4 : 0], there ? 16 : 0);

    /// <summary>The warp's 16 queries times the tile's keys.</summary>
    private static Block64 Dots(ArrayView<Bits4> shared, int keysAt, int blocks)
    {
        int lane = Group.IdxX % 32, warp = Group.IdxX / 32;
        Block64 dots = default;
        for (int block = 0; block < blocks; block++)
        {
            int at = block * (TileRows * BlockChunks) + lane, query = at + warp * (16 * BlockChunks);
            dots = dots.Add(shared[query], shared[query + 32], shared, keysAt + at);
        }

        return dots;
    }

    /// <summary>The largest of the four lanes that share a row.</summary>
    private static float OfQuad(float max)
    {
        max = Elementary.Max(max, Warp.ShuffleXor(max, 1));
        return Elementary.Max(max, Warp.ShuffleXor(max, 2));
    }

    /// <summary>Adds the sink, saves the row's maximum and reciprocal sum, and returns what its output is to be multiplied
    /// by.</summary>
    private static float Finish(
        ArrayView<float> sinks, int row, int shares, int kvHead, float max, float sum, ArrayView<float> statistics, long at,
        bool saves)
    {
        float factor = 1, from = max == float.NegativeInfinity ? 0 : max;
        bool seen = max > float.NegativeInfinity || Elementary.IsNaN(max);
        if (sinks.Length != 0)
        {
            float sink = sinks[kvHead * shares + row % shares] * ScoreRow.Log2E, largest = Elementary.Max(max, sink);
            from = largest == float.NegativeInfinity ? 0 : largest;
            factor = Ptx.Exp2(max - from);
            sum = Ptx.Fma(sum, factor, Ptx.Exp2(sink - from));
        }

        float reciprocal = seen ? 1 / sum : 0;
        if (saves && at >= 0)
        {
            statistics[2 * at] = from;
            statistics[2 * at + 1] = reciprocal;
        }

        return factor * reciprocal;
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
}
