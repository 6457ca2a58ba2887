using ILGPU;
using ILGPU.Runtime;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Attention on tensor cores: Q, K, V and the weights are rounded to BF16, sums and the softmax are fp32 with its maximum and sum
/// on the way (Milakov and Gimelshein, 2018; Dao et al., 2022). A warp makes 32 rows or 16, a row being a query of one of the heads
/// that share a key: so one token's heads fill a tile together.
/// </summary>
/// <remarks>
/// Keys are taken in tiles of 64 that count from the sequence's first token, and a tile of which a row sees nothing leaves its
/// numbers as they are: a row's bits depend on its own sequence alone. A NaN among the values of a tile reaches the rows that see
/// another key of it.
/// </remarks>
internal static partial class TensorAttentionKernels
{
    /// <summary>Keys of a tile.</summary>
    public const int TileKeys = 64;

    /// <summary>The largest head.</summary>
    public const int LargestSize = 256;

    public const int Threads = 128;

    private const int MostRows = Threads;
    private const int BlockChunks = 4; // 64 bytes: one step of two instructions

    /// <summary>What queries, keys and values may take of a group's shared memory, so that two groups share an H100's multiprocessor.</summary>
    private const int LargestShared = 96 << 10;

    /// <summary>Bytes of shared memory for everything else.</summary>
    private const int OtherShared = 12 << 10;

    /// <summary>Bytes of shared memory: queries, and as many tiles of keys and values, in BF16.</summary>
    public static int SharedBytes<THead>(int channels, int stages) where THead : struct, IHeadShape
    {
        THead head = default;
        return (Rows<THead>() * head.Blocks * BlockChunks + stages * TileKeys * (head.Blocks * BlockChunks + channels / 8)) * 16;
    }

    /// <summary>Rows of a group.</summary>
    public static int Rows<THead>() where THead : struct, IHeadShape => default(THead).Twice ? Threads : Threads / 2;

    /// <summary>Tiles in shared memory: two where they fit, so that one is copied while the other is worked on; none where not even one
    /// does.</summary>
    /// <param name="channels">Channels of the output.</param>
    /// <param name="groupBytes">Shared memory that a group may have.</param>
    public static int Stages<THead>(int channels, int groupBytes) where THead : struct, IHeadShape
    {
        int room = Math.Min(LargestShared, groupBytes - OtherShared);
        return SharedBytes<THead>(channels, 2) <= room ? 2 : SharedBytes<THead>(channels, 1) <= room ? 1 : 0;
    }

    /// <summary>
    /// Keys and values of all heads as the kernels below copy them: of each of the first <paramref name="keys"/> tokens of a sequence,
    /// for each head, the key's chunks and then the value's, rounded and filled up with zeros. A thread a chunk. Where
    /// <paramref name="keyCount"/> has fewer tokens, the others are left out.
    /// </summary>
    [Kernel(256)]
    public static void Pack(
        ArrayView<float> k, ArrayView<float> v, ArrayView<int> keyCount, int capacity, int keys, int heads, int size, int valueSize, int keyChunks, int chunks,
        int alignedKeys, int alignedValues, long count, ArrayView<Bits4> packed)
    {
        BF16Tensor format = default;
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            long row = i / chunks, tokens = (long)keys * heads, sequence = row / tokens;
            long place = sequence * capacity * heads + row - sequence * tokens;
            int chunk = (int)(i - row * chunks);
            if (keyCount.Length != 0 && row % tokens / heads >= keyCount[0])
            {
                return;
            }

            packed[i] = chunk < keyChunks
                ? format.Round(k, place * size, chunk, size, alignedKeys != 0)
                : format.Round(v, place * valueSize, chunk - keyChunks, valueSize, alignedValues != 0);
        }
    }

    /// <summary>Z, and of each row the maximum (in units of log 2) and the reciprocal of the sum.</summary>
    [Kernel(Threads, typeof(Head64), typeof(Block64), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head64), typeof(Block64), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head64), typeof(Block64), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128), typeof(Pair<Block64>), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128Once), typeof(Pair<Block64>), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head128Once), typeof(Pair<Block64>), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(Pair<Pair<Block64>>), typeof(PlainScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(Pair<Pair<Block64>>), typeof(SlopedScore), Groups = 2, DynamicBytes = LargestShared)]
    [Kernel(Threads, typeof(Head256), typeof(Pair<Pair<Block64>>), typeof(CappedScore), Groups = 2, DynamicBytes = LargestShared)]
    public static void Attend<THead, TChannels, TScore>(
        ArrayView<float> q, ArrayView<Bits4> packed, ArrayView<int> sequences, ArrayView<int> keyCount, ArrayView<float> slopes,
        ArrayView<float> sinks, ArrayView<float> statistics, ArrayView<Sum4> totals, ArrayView<float> z, ArrayView<ushort> zNarrow, int queries,
        int heads, int kvHeads, int size, int valueSize, int keys, int window, int causal, float scale, float cap, int stages, int aligned)
        where THead : struct, IHeadShape
        where TChannels : struct, IChannels<TChannels>
        where TScore : struct, IScore
    {
        THead head = default;
        TScore rule = default;
        TChannels channels = default;
        int room = keys;
        if (keyCount.Length != 0)
        {
            keys = keyCount[0];
        }

        ArrayView<Bits4> shared = SharedMemory.GetDynamic<Bits4>();
        ArrayView<ScoreRow> rows = SharedMemory.Allocate<ScoreRow>(MostRows);
        ArrayView<Four> sums = SharedMemory.Allocate<Four>(Threads);
        ArrayView<TileSpan> spans = SharedMemory.Allocate<TileSpan>(1);
        ArrayView<EarlierPieces> earlier = SharedMemory.Allocate<EarlierPieces>(Threads);
        sums[Group.IdxX] = default;

        // The last tiles come first: with a causal mask they see the most keys.
        int shares = heads / kvHeads, count = (queries * shares + Rows<THead>() - 1) / Rows<THead>(), others = Grid.DimX / count;
        int firstRow = (count - 1 - Grid.IdxX / others) * Rows<THead>(), lastRow = firstRow + Rows<THead>() - 1;
        int kvHead = Grid.IdxX % others % kvHeads, batch = Grid.IdxX % others / kvHeads;
        int begin = sequences[2 * batch], end = sequences[2 * batch + 1];
        int own = Group.IdxX % Rows<THead>();
        ScoreRow row = Row(firstRow + own, shares, kvHead, batch, begin, end, queries, keys, window, causal, heads, slopes, sinks);
        rows[own] = row;
        LoadQueries<THead>(shared.Cast<uint>(), q, own, row.Place * size, size, aligned != 0);

        // Rows are in the order of their queries. What all threads share lies in shared memory, since registers are short.
        ScoreRow earliest = Row(firstRow, shares, 0, 0, begin, end, queries, keys, window, causal, heads, default, default);
        ScoreRow latest = Row(lastRow, shares, 0, 0, begin, end, queries, keys, window, causal, heads, default, default);
        int key = FirstKey(firstRow, shares, begin, queries, keys, window);
        var tiles = new TileSpan
        {
            Last = LastKey(lastRow, shares, end, queries, keys, window, causal),
            End = end,
            Begin = begin,
            WholeFrom = latest.First,
            WholeEnd = earliest.End > 0 && latest.End > 0 ? earliest.End - TileKeys + 1 : 0,
        };
        spans[0] = tiles;
        Group.Barrier();

        int keyChunks = head.Blocks * BlockChunks, chunks = keyChunks + channels.Chunks, stride = kvHeads * chunks;
        int stage = Rows<THead>() * keyChunks, stageChunks = TileKeys * chunks;
        long from = (((long)batch * room + key) * kvHeads + kvHead) * chunks;
        if (stages == 2)
        {
            Begin<THead, TChannels>(shared, stage, packed, from, stride, key, spans[0].Last, spans[0].End);
            from += TileKeys * stride;
        }

        var state = new Attended<TChannels> { First = Softmax.Begin, Last = Softmax.Begin };
        var bend = new Bend(scale, cap);
        float unit = rule.Unit(scale);
        bool any = false;
        while (key < spans[0].Last)
        {
            earlier[Group.IdxX].PieceEnd = IntrinsicMath.Min(spans[0].Last, spans[0].Begin + ((key - spans[0].Begin) / AttentionPieces.Keys + 1) * AttentionPieces.Keys);
            for (; key < earlier[Group.IdxX].PieceEnd; key += TileKeys)
            {
                // With two stages, the next tile is copied while this one is worked on.
                int otherStage = 2 * Rows<THead>() * keyChunks + stageChunks - stage;
                int next = stages == 2 ? key + TileKeys : key, to = stages == 2 ? otherStage : stage;
                Begin<THead, TChannels>(shared, to, packed, from, stride, next, spans[0].Last, spans[0].End);
                from += TileKeys * stride;
                if (stages == 2)
                {
                    Ptx.CpAsyncWaitAllButOne();
                }
                else
                {
                    Ptx.CpAsyncWaitAll();
                }

                Group.Barrier();
                int laneKey = key + (Group.IdxX & 3) * 2;
                Both<Block64> scores = Scores<THead, TScore>(shared, stage, rows, laneKey, bend);
                if (key < spans[0].WholeFrom || key >= spans[0].WholeEnd)
                {
                    scores = Seen<THead>(scores, rows, laneKey);
                }
                else
                {
                    Ptx.Otherwise();
                }

                state = state.Add(scores, unit, head.Twice, ref sums[Group.IdxX], shared.Cast<uint>(), stage + KeyTileChunks<THead>());
                Group.Barrier(); // all are done with the tile, whose place is filled next
                stage = to;
            }

            if (any || key < spans[0].Last)
            {
                AttentionPieces.Keep(
                    state, ref sums[Group.IdxX], ref earlier[Group.IdxX], totals, OwnTotals<THead, TChannels>(), any, head.Twice);
                state = new Attended<TChannels> { First = Softmax.Begin, Last = Softmax.Begin };
                any = true;
            }
            else
            {
                Ptx.Otherwise();
            }
        }

        Ptx.CpAsyncWaitAll();
        if (any)
        {
            state = AttentionPieces.Kept<TChannels>(
                ref sums[Group.IdxX], earlier[Group.IdxX], totals, OwnTotals<THead, TChannels>(), head.Twice);
        }
        else
        {
            Ptx.Otherwise();
        }

        int channel = (Group.IdxX & 3) * 2, low = OwnRow<THead>();
        Four sum = sums[Group.IdxX];
        Finish(state.Output.First, state.First, sum.A, sum.B, rows[low], rows[low + 8], statistics, z, zNarrow, channel, valueSize);
        if (head.Twice)
        {
            Finish(state.Output.Last, state.Last, sum.C, sum.D, rows[low + 16], rows[low + 24], statistics, z, zNarrow, channel, valueSize);
        }
    }

    /// <summary>Where a lane keeps its outputs between pieces.</summary>
    private static long OwnTotals<THead, TChannels>()
        where THead : struct, IHeadShape
        where TChannels : struct, IChannels<TChannels> =>
        (long)Grid.IdxX * ((default(THead).Twice ? 2 : 1) * default(TChannels).Chunks * Threads) + Group.IdxX;

    /// <summary>The first row of a lane's two or four in the group's tile; the others are 8, 16 and 24 further.</summary>
    private static int OwnRow<THead>() where THead : struct, IHeadShape =>
        (Group.IdxX >> 5) * (default(THead).Twice ? 32 : 16) + (Group.IdxX >> 2 & 7);

    /// <summary>The keys of a group.</summary>
    private struct TileSpan
    {
        /// <summary>One past the last that any row sees, and one past the sequence's last.</summary>
        public int Last, End;

        /// <summary>The sequence's first.</summary>
        public int Begin;

        /// <summary>Tiles that begin from here on and before there are seen whole by every row, and need no mask.</summary>
        public int WholeFrom, WholeEnd;
    }

    public static ScoreRow Row(
        int row, int shares, int kvHead, int batch, int begin, int end, int queries, int keys, int window, int causal, int heads,
        ArrayView<float> slopes, ArrayView<float> sinks)
    {
        int query = row / shares, head = kvHead * shares + row % shares;
        int position = query + keys - queries, reach = window > 0 ? window : keys;
        bool there = query < queries && position >= begin && position < end;
        return new ScoreRow
        {
            Place = query < queries ? ((long)batch * queries + query) * heads + head : -1,
            First = there ? IntrinsicMath.Max(begin, position - reach + 1) : 0,
            End = !there ? 0 : causal != 0 ? position + 1 : (int)IntrinsicMath.Min((long)end, (long)position + reach),
            Begin = begin,
            Slope = slopes.Length != 0 ? slopes[head] : 0,
            Sink = sinks.Length != 0 ? sinks[head] * ScoreRow.Log2E : float.NegativeInfinity,
        };
    }

    /// <summary>Where a row lies among [batch, queries, heads]; −1 for none.</summary>
    private static long Place(int row, int shares, int kvHead, int batch, int queries, int heads) =>
        row / shares < queries ? ((long)batch * queries + row / shares) * heads + kvHead * shares + row % shares : -1;

    /// <summary>The first tile that a row from this one on may see.</summary>
    public static int FirstKey(int row, int shares, int begin, int queries, int keys, int window)
    {
        int position = row / shares + keys - queries, reach = window > 0 ? window : keys;
        int first = IntrinsicMath.Max(begin, position - reach + 1);
        return begin + (first - begin) / TileKeys * TileKeys;
    }

    /// <summary>One past the last key that a row up to this one may see.</summary>
    public static int LastKey(int row, int shares, int end, int queries, int keys, int window, int causal)
    {
        int query = IntrinsicMath.Min(row / shares, queries - 1), position = query + keys - queries;
        long reach = causal != 0 ? 1 : window > 0 ? window : keys;
        return (int)IntrinsicMath.Min((long)end, position + reach);
    }

    /// <summary>Queries as the instruction's A, for each 16 channels and 16 rows the registers of all lanes: so that a lane loads four at
    /// once, which the instruction wants side by side.</summary>
    private static void LoadQueries<THead>(
        ArrayView<uint> shared, ArrayView<float> q, int line, long from, int size, bool aligned)
        where THead : struct, IHeadShape
    {
        THead head = default;
        BF16Tensor format = default;
        int step = Rows<THead>() / 16 * 128;
        for (int chunk = Group.IdxX / Rows<THead>(); chunk < head.Blocks * BlockChunks; chunk += Threads / Rows<THead>())
        {
            Bits4 bits = default;
            if (from >= 0)
            {
                bits = format.Round(q, from, chunk, size, aligned);
            }

            // Rows g and g + 8 are the even and odd registers; a chunk's first half is for one instruction, its last for the next.
            int at = (chunk >> 2) * 2 * step + (line >> 4) * 128 + ((line & 7) * 4 + (chunk & 3)) * 4 + (line >> 3 & 1);
            shared[at] = bits.X;
            shared[at + 2] = bits.Y;
            shared[at + step] = bits.Z;
            shared[at + step + 2] = bits.W;
        }
    }

    /// <summary>Chunks of a tile's keys in shared memory; its values follow.</summary>
    private static int KeyTileChunks<THead>() where THead : struct, IHeadShape => default(THead).Blocks * (TileKeys * BlockChunks);

    /// <summary>
    /// Begins to copy a tile, if there is one: its keys, block of 32 channels after block, then its values by rows, whose chunks change
    /// places within 128 bytes, so that eight rows' equal chunks meet different banks. Zeros where there is no key.
    /// </summary>
    /// <param name="shared">Shared memory.</param>
    /// <param name="stage">Where the tile goes.</param>
    /// <param name="packed">Keys and values.</param>
    /// <param name="from">The chunk where the tile's first key begins.</param>
    /// <param name="stride">Chunks from one token to the next.</param>
    /// <param name="key">The tile's first key.</param>
    /// <param name="last">One past the last key that the group needs.</param>
    /// <param name="end">One past the sequence's last key.</param>
    private static void Begin<THead, TChannels>(
        ArrayView<Bits4> shared, int stage, ArrayView<Bits4> packed, long from, int stride, int key, int last, int end)
        where THead : struct, IHeadShape
        where TChannels : struct, IChannels<TChannels>
    {
        if (key < last)
        {
            // A token's key and value lie side by side, and neighbouring threads copy neighbouring chunks.
            int pitch = default(TChannels).Chunks, keyChunks = default(THead).Blocks * BlockChunks, chunks = keyChunks + pitch;
            int own = Group.IdxX & (chunks - 1), line = (int)((uint)Group.IdxX / (uint)chunks), value = own - keyChunks;
            bool isKey = value < 0;
            int to = stage + (isKey ? (own >> 2) * (TileKeys * BlockChunks) + (own & 3) : keyChunks * TileKeys);
            int width = isKey ? BlockChunks : pitch, turned = isKey ? 0 : value, turns = isKey ? 0 : 7;
            for (int i = 0; i < TileKeys; i += Threads / chunks)
            {
                int place = key + line + i;
                bool there = place >= 0 && place < end;
                Copy(
                    shared, to + (line + i) * width + (turned ^ ((line + i) & turns)), packed, from + (line + i) * stride + own, there);
            }
        }

        Ptx.CpAsyncCommit();
    }

    /// <summary>As <see cref="Begin"/> for keys alone.</summary>
    private static void BeginKeys<THead>(
        ArrayView<Bits4> shared, int at, ArrayView<Bits4> packed, long from, int stride, int key, int end)
        where THead : struct, IHeadShape
    {
        int line = Group.IdxX >> 2, lines = Threads / BlockChunks;
        for (int i = 0; i < TileKeys; i += lines)
        {
            bool there = key + line + i >= 0 && key + line + i < end;
            for (int block = 0; block < default(THead).Blocks; block++)
            {
                Copy(
                    shared, at + Group.IdxX + block * (TileKeys * BlockChunks) + i * BlockChunks, packed,
                    from + (line + i) * stride + (Group.IdxX & 3) + block * BlockChunks, there);
            }
        }
    }

    private static void Copy(ArrayView<Bits4> shared, int to, ArrayView<Bits4> from, long at, bool there) => Ptx.CpAsync16(
        ref shared.Cast<uint>()[to * 4], ref from.Cast<uint>()[there ? at * 4 : 0], there ? 16 : 0);

    /// <summary>The warp's queries times the tile's keys.</summary>
    private static Both<Block64> Dots<THead>(ArrayView<Bits4> shared, int keysAt) where THead : struct, IHeadShape
    {
        THead head = default;
        int lane = Group.IdxX & 31, queries = (Group.IdxX >> 5) * (head.Twice ? 64 : 32) + lane, step = Rows<THead>() / 16 * 32;
        var dots = default(Both<Block64>);
        for (int block = 0; block < head.Blocks; block++)
        {
            int at = queries + block * 2 * step;
            var first = new Both<Bits4> { First = shared[at], Last = shared[at + step] };
            Both<Bits4> last = default;
            if (head.Twice)
            {
                last = new Both<Bits4> { First = shared[at + 32], Last = shared[at + step + 32] };
            }

            dots = Block64.Dots(dots, head.Twice, first, last, shared, keysAt + block * (TileKeys * BlockChunks) + lane);
        }

        return dots;
    }

    /// <summary>The tile's scores, of all keys.</summary>
    private static Both<Block64> Scores<THead, TScore>(ArrayView<Bits4> shared, int keysAt, ArrayView<ScoreRow> rows, int key, Bend bend)
        where THead : struct, IHeadShape
        where TScore : struct, IScore
    {
        Both<Block64> scores = Dots<THead>(shared, keysAt);
        int low = OwnRow<THead>();
        scores.First = scores.First.Scores<TScore>(rows[low], rows[low + 8], key, bend);
        if (default(THead).Twice)
        {
            scores.Last = scores.Last.Scores<TScore>(rows[low + 16], rows[low + 24], key, bend);
        }

        return scores;
    }

    /// <summary>−∞ where a row does not see a key.</summary>
    private static Both<Block64> Seen<THead>(Both<Block64> scores, ArrayView<ScoreRow> rows, int key) where THead : struct, IHeadShape
    {
        int low = OwnRow<THead>();
        scores.First = scores.First.Seen(rows[low], rows[low + 8], key);
        if (default(THead).Twice)
        {
            scores.Last = scores.Last.Seen(rows[low + 16], rows[low + 24], key);
        }

        return scores;
    }

    /// <summary>Adds the sink, saves each row's maximum and reciprocal sum, and stores the output.</summary>
    private static void Finish<TChannels>(
        TChannels output, Softmax softmax, float sumLow, float sumHigh, ScoreRow low, ScoreRow high, ArrayView<float> statistics,
        ArrayView<float> z, ArrayView<ushort> zNarrow, int channel, int valueSize)
        where TChannels : struct, IChannels<TChannels>
    {
        float byLow = Finish(low, softmax.MaxLow, OfQuad(sumLow), statistics);
        float byHigh = Finish(high, softmax.MaxHigh, OfQuad(sumHigh), statistics);
        output.Scale(byLow, byHigh).Store(
            z, zNarrow, low.Place < 0 ? -1 : low.Place * valueSize, high.Place < 0 ? -1 : high.Place * valueSize, channel, valueSize);
    }

    /// <summary>The sum of the four lanes that share a row.</summary>
    public static float OfQuad(float sum)
    {
        sum += Warp.ShuffleXor(sum, 1);
        return sum + Warp.ShuffleXor(sum, 2);
    }

    /// <summary>Adds the sink, and saves the maximum and the reciprocal of the sum where there is room for them.</summary>
    /// <returns>What the row's output is to be multiplied by.</returns>
    public static float Finish(ScoreRow row, float max, float sum, ArrayView<float> statistics)
    {
        bool seen = max > float.NegativeInfinity || Elementary.IsNaN(max);
        float largest = Ptx.Max(max, row.Sink), from = largest == float.NegativeInfinity ? 0 : largest;
        float factor = Ptx.Exp2(max - from);
        sum = Ptx.Fma(sum, factor, Ptx.Exp2(row.Sink - from));
        float reciprocal = seen ? 1 / sum : 0;
        if (statistics.Length != 0 && (Group.IdxX & 3) == 0 && row.Place >= 0)
        {
            statistics[2 * row.Place] = from;
            statistics[2 * row.Place + 1] = reciprocal;
        }

        return factor * reciprocal;
    }
}
