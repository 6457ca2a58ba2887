using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products on tensor cores. K is cut into blocks of 64 bytes and segments of eight blocks: an element is one chain of
/// instructions along each segment, from +0, and the segments' sums are added in order. <see cref="Tile"/> and
/// <see cref="FewRowsKernels"/> do exactly this with the same operands in the same places of the same instructions, so that the number of
/// rows moves no bit.
/// </summary>
/// <remarks>
/// X is the instruction's A (16 rows), the weight its B (8 columns), which is read as it lies in memory: a lane's chunk of 16 bytes is its
/// part of two instructions. Chunks of a block lie side by side in shared memory, so that eight lanes read or write 128 bytes in a
/// row: no bank conflicts, and the whole chunks need no ldmatrix.
/// </remarks>
internal static class TensorProductKernels
{
    /// <summary>Rows and columns of a group's tile.</summary>
    public const int TileSide = 128;

    public const int BlockBytes = 64, SegmentBlocks = 8;

    /// <summary>What <see cref="Grouped"/>'s table has of a tile.</summary>
    public const int TableRow = 0, TableEnd = 1, TableWeight = 2, TableBias = 3, TableLength = 4;

    private const int Threads = 256;
    private const int BlockChunks = 4; // of 16 bytes
    private const int SideChunks = TileSide * BlockChunks, StageChunks = 2 * SideChunks;
    private const int Stages = 3;
    private const int PartRows = 32; // finished at a time: what shared memory holds
    private const int Pitch = TileSide + 4; // of finished rows, in floats: lanes of a warp meet 32 banks

    /// <summary>
    /// A group's eight warps make a tile, each 64 rows of 32 columns. X is laid out, the weight's stride is in chunks. Tiles of the same
    /// columns come one after the other.
    /// </summary>
    [Kernel(Threads, typeof(BF16Tensor), Groups = 1)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = 1)]
    public static void Tile<TFormat>(
        ArrayView<Bits4> x, ArrayView<Bits4> w, long wStride, int rows, int innerBytes, int columns, int tilesDown,
        ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        int firstRow = Grid.IdxX % tilesDown * TileSide, firstColumn = Grid.IdxX / tilesDown * TileSide;
        Make<TFormat>(
            x, firstRow / TensorRowKernels.Rows, w, wStride, firstRow, rows, innerBytes, firstColumn, columns, bias, activation, multiply,
            multiplyStride, residual, residualStride, pre, preStride, delta, deltaStride, output, narrow, outputStride);
    }

    /// <summary>
    /// The same for groups of rows with a weight each. The table has four numbers for every tile: its first row, the end of its group's rows, and
    /// where in memory its weight begins, in chunks, and its bias, in floats, or −1. Tile t has the laid rows from the 8·t-th sixteen on.
    /// </summary>
    [Kernel(Threads, typeof(BF16Tensor), Groups = 1)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = 1)]
    public static void Grouped<TFormat>(
        ArrayView<Bits4> x, ArrayView<Bits4> memory, long wStride, ArrayView<long> table, int tilesDown, int innerBytes, int columns,
        ArrayView<float> biases, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> output, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        int tile = Grid.IdxX % tilesDown, firstColumn = Grid.IdxX / tilesDown * TileSide;
        long w = table[tile * TableLength + TableWeight], bias = table[tile * TableLength + TableBias];
        ArrayView<float> ownBias = default;
        if (bias >= 0)
        {
            ownBias = biases.SubView(bias, columns);
        }

        Make<TFormat>(
            x, tile * (TileSide / TensorRowKernels.Rows), memory.SubView(w, (columns - 1) * wStride + (innerBytes + 15) / 16), wStride,
            (int)table[tile * TableLength + TableRow], (int)table[tile * TableLength + TableEnd], innerBytes, firstColumn, columns, ownBias,
            activation, multiply, multiplyStride, default, 0, default, 0, default, 0, output, default, outputStride);
    }

    /// <summary>The table of one tile for each row, with the weight that it chose; a thread for each.</summary>
    [Kernel(256)]
    public static void Choose(
        ArrayView<int> choice, int rows, ArrayView<long> addresses, int weights, ArrayView<long> table, ArrayView<int> faults)
    {
        int row = Grid.IdxX * Group.DimX + Group.IdxX;
        if (row < rows)
        {
            int weight = WeightAddress.Chosen(choice, row, weights, faults);
            long bias = addresses[weight * WeightAddress.Length + WeightAddress.Bias];
            table[row * TableLength + TableRow] = row;
            table[row * TableLength + TableEnd] = row + 1;
            table[row * TableLength + TableWeight] = addresses[weight * WeightAddress.Length + WeightAddress.Elements] / 16;
            table[row * TableLength + TableBias] = bias < 0 ? -1 : bias / sizeof(float);
        }
    }

    /// <summary>A tile: rows [firstRow, rows), whose laid sixteens begin at <paramref name="firstTile"/>.</summary>
    private static void Make<TFormat>(
        ArrayView<Bits4> x, int firstTile, ArrayView<Bits4> w, long wStride, int firstRow, int rows, int innerBytes, int firstColumn, int columns,
        ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        ArrayView<Bits4> shared = SharedMemory.Allocate<Bits4>(Stages * StageChunks);
        int thread = Group.IdxX, lane = thread & 31, warp = thread >> 5;
        int blocks = (innerBytes + BlockBytes - 1) / BlockBytes;
        int rowTiles = firstTile + (rows - firstRow + TensorRowKernels.Rows - 1) / TensorRowKernels.Rows;

        // A lane's chunks: of its warp's 64 rows, and of its 32 columns.
        int left = (warp & 1) * (SideChunks / 2) + lane, right = SideChunks + (warp >> 1) * (32 * BlockChunks) + lane;
        Block32 sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        Block32 total0 = default, total1 = default, total2 = default, total3 = default;
        Begin(shared, 0, x, w, wStride, firstTile, rowTiles, firstColumn, columns, innerBytes, 0, blocks);
        Begin(shared, 1, x, w, wStride, firstTile, rowTiles, firstColumn, columns, innerBytes, 1, blocks);
        int stage = 0;
        for (int block = 0; block < blocks; block++)
        {
            Ptx.CpAsyncWaitAllButOne();
            Group.Barrier(); // the block is there for all, and all are done with the one before, whose place is filled next
            Begin(
                shared, stage == 0 ? Stages - 1 : stage - 1, x, w, wStride, firstTile, rowTiles, firstColumn, columns, innerBytes,
                block + 2, blocks);
            int a = stage * StageChunks + left, b = stage * StageChunks + right;
            Bits4 w0 = shared[b], w1 = shared[b + 32], w2 = shared[b + 64], w3 = shared[b + 96];
            sum0 = Block32.Multiply(format, sum0, shared[a], shared[a + 32], w0, w1, w2, w3);
            sum1 = Block32.Multiply(format, sum1, shared[a + 64], shared[a + 96], w0, w1, w2, w3);
            sum2 = Block32.Multiply(format, sum2, shared[a + 128], shared[a + 160], w0, w1, w2, w3);
            sum3 = Block32.Multiply(format, sum3, shared[a + 192], shared[a + 224], w0, w1, w2, w3);
            if (block % SegmentBlocks == SegmentBlocks - 1 || block == blocks - 1)
            {
                total0 = Block32.Sum(total0, sum0);
                total1 = Block32.Sum(total1, sum1);
                total2 = Block32.Sum(total2, sum2);
                total3 = Block32.Sum(total3, sum3);
                sum0 = default;
                sum1 = default;
                sum2 = default;
                sum3 = default;
            }
            else
            {
                Ptx.Otherwise();
            }

            stage = stage == Stages - 1 ? 0 : stage + 1;
        }

        // Through shared memory, so that the epilogue's code stands here once and meets its memory row by row.
        Ptx.CpAsyncWaitAll();
        ArrayView<float> part = shared.Cast<float>();
        int at = ((warp & 1) * 16 + (lane >> 2)) * Pitch + (warp >> 1) * 32 + (lane & 3) * 2;
        for (int i = 0; i < 4; i++)
        {
            Group.Barrier();
            Store(part, at, i < 2 ? i == 0 ? total0 : total1 : i == 2 ? total2 : total3);
            Group.Barrier();
            int column = firstColumn + thread % TileSide;
            for (int line = thread / TileSide; line < PartRows && column < columns; line += Threads / TileSide)
            {
                int row = firstRow + line / 16 * 64 + i * 16 + line % 16;
                if (row < rows)
                {
                    Epilogue.Store(
                        part[line * Pitch + thread % TileSide], row, column, bias, activation, multiply, multiplyStride, residual,
                        residualStride, pre, preStride, delta, deltaStride, output, narrow, outputStride);
                }
            }
        }
    }

    /// <summary>Begins to copy a block of the tile's rows and columns into a stage, as one group of copies; zeros past every
    /// end.</summary>
    private static void Begin(
        ArrayView<Bits4> shared, int stage, ArrayView<Bits4> x, ArrayView<Bits4> w, long wStride, int firstTile, int rowTiles,
        int firstColumn, int columns, int innerBytes, int block, int blocks)
    {
        if (block < blocks)
        {
            int thread = Group.IdxX, to = stage * StageChunks + thread;
            for (int i = 0; i < SideChunks; i += Threads)
            {
                int tile = firstTile + (thread + i) / TensorRowKernels.TileChunks;
                Copy(
                    shared, to + i, x, ((long)tile * blocks + block) * TensorRowKernels.TileChunks + (thread & 63),
                    tile < rowTiles ? 16 : 0);
            }

            int chunk = block * BlockChunks + (thread & 3), bytes = IntrinsicMath.Clamp(innerBytes - chunk * 16, 0, 16);
            for (int i = 0; i < SideChunks; i += Threads)
            {
                int column = firstColumn + ((thread + i) >> 2);
                Copy(shared, to + SideChunks + i, w, column * wStride + chunk, column < columns ? bytes : 0);
            }
        }

        Ptx.CpAsyncCommit();
    }

    private static void Copy(ArrayView<Bits4> shared, int to, ArrayView<Bits4> from, long at, int count) =>
        Ptx.CpAsync16(ref shared.Cast<uint>()[to * 4], ref from.Cast<uint>()[count > 0 ? at * 4 : 0], count);

    private static void Store(ArrayView<float> part, int at, Block32 block)
    {
        Store(part, at, block.T0);
        Store(part, at + 8, block.T1);
        Store(part, at + 16, block.T2);
        Store(part, at + 24, block.T3);
    }

    private static void Store(ArrayView<float> part, int at, Sum4 sum)
    {
        part[at] = sum.X;
        part[at + 1] = sum.Y;
        part[at + 8 * Pitch] = sum.Z;
        part[at + 8 * Pitch + 1] = sum.W;
    }

    /// <summary>A lane's sums for 16 rows and 32 columns.</summary>
    private struct Block32
    {
        public Sum4 T0, T1, T2, T3;

        public static Block32 Multiply<TFormat>(
            TFormat format, Block32 c, Bits4 first, Bits4 last, Bits4 w0, Bits4 w1, Bits4 w2, Bits4 w3)
            where TFormat : struct, ITensorFormat
        {
            var x = new Both<Bits4> { First = first, Last = last };
            return new()
            {
                T0 = format.Multiply(c.T0, x, w0),
                T1 = format.Multiply(c.T1, x, w1),
                T2 = format.Multiply(c.T2, x, w2),
                T3 = format.Multiply(c.T3, x, w3),
            };
        }

        public static Block32 Sum(Block32 a, Block32 b) => new()
        {
            T0 = Add(a.T0, b.T0),
            T1 = Add(a.T1, b.T1),
            T2 = Add(a.T2, b.T2),
            T3 = Add(a.T3, b.T3),
        };

        private static Sum4 Add(Sum4 a, Sum4 b) => new() { X = a.X + b.X, Y = a.Y + b.Y, Z = a.Z + b.Z, W = a.W + b.W };
    }
}
