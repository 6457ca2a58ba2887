using ILGPU;
using ILGPU.Runtime;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products on tensor cores. K is cut into blocks of 64 bytes and segments of eight blocks: an element is one chain of
/// instructions along each segment, from +0, and the segments' sums are added in order. Both kernels do exactly this with the
/// same operands in the same places of the same instructions, so that the number of rows moves no bit.
/// </summary>
/// <remarks>
/// The weight is the instruction's A (16 columns), X its B (8 rows): one row costs an eighth of what it could, which the weight's
/// way from memory hides. Chunks of a block lie side by side in shared memory, so that eight lanes read or write 128 bytes in a
/// row: no bank conflicts, and the whole chunks need no ldmatrix.
/// </remarks>
internal static class TensorProductKernels
{
    /// <summary>Columns of the weight in a group's tile.</summary>
    public const int TileColumns = 128;

    /// <summary>Rows of X in a group's tile.</summary>
    public const int TileRows = 64;

    /// <summary>Rows that <see cref="FewRows"/> makes at a time.</summary>
    public const int Few = 8;

    /// <summary>Columns that a group of <see cref="FewRows"/> makes.</summary>
    public const int FewColumns = 16;

    private const int BlockBytes = 64, SegmentBlocks = 8;
    private const int BlockChunks = 4; // of 16 bytes
    private const int StageChunks = (TileColumns + TileRows) * BlockChunks;
    private const int Stages = 3;
    private const int Pitch = TileColumns + 4; // of the finished tile, in floats: lanes of a warp meet 32 banks

    /// <summary>X, rounded for the kernel below, a chunk a thread.</summary>
    [Kernel(256, typeof(BF16Tensor))]
    [Kernel(256, typeof(TF32Tensor))]
    public static void Round<TFormat>(ArrayView<float> x, long xStride, int rows, int inner, int chunks, int aligned,
        ArrayView<Bits4> rounded)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        long count = (long)rows * chunks, step = (long)Grid.DimX * Group.DimX;
        for (long i = (long)Grid.IdxX * Group.DimX + Group.IdxX; i < count; i += step)
        {
            long row = i / chunks;
            rounded[i] = format.Round(x, row * xStride, (int)(i - row * chunks), inner, aligned != 0);
        }
    }

    /// <summary>
    /// A group's four warps make a tile, each 64 columns of 32 rows. Strides are in chunks; X is rounded. Tiles of the same
    /// columns come one after the other.
    /// </summary>
    [Kernel(128, typeof(BF16Tensor), Groups = 2)]
    [Kernel(128, typeof(TF32Tensor), Groups = 2)]
    public static void Tile<TFormat>(
        ArrayView<Bits4> x, long xStride, ArrayView<Bits4> w, long wStride, int rows, int innerBytes, int columns, int tilesDown,
        ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        ArrayView<Bits4> shared = SharedMemory.Allocate<Bits4>(Stages * StageChunks);
        int thread = Group.IdxX, lane = thread % 32, warp = thread / 32;
        int firstRow = Grid.IdxX % tilesDown * TileRows, firstColumn = Grid.IdxX / tilesDown * TileColumns;
        int blocks = (innerBytes + BlockBytes - 1) / BlockBytes;

        // Chunks of a lane: of columns g, g + 8, … of the warp's 64 and rows g, g + 8, … of its 32.
        int left = warp % 2 * (64 * BlockChunks) + lane;
        int right = (TileColumns + warp / 2 * 32) * BlockChunks + lane;
        Strip sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        Strip total0 = default, total1 = default, total2 = default, total3 = default;
        Begin(shared, 0, x, xStride, w, wStride, firstRow, rows, firstColumn, columns, innerBytes, 0);
        Begin(shared, 1, x, xStride, w, wStride, firstRow, rows, firstColumn, columns, innerBytes, 1);
        int stage = 0;
        for (int block = 0; block < blocks; block++)
        {
            Ptx.CpAsyncWaitAllButOne();
            Group.Barrier(); // the block is there for all, and all are done with the one before, whose place is filled next
            Begin(
                shared, stage == 0 ? Stages - 1 : stage - 1, x, xStride, w, wStride, firstRow, rows, firstColumn, columns,
                innerBytes, block + 2);
            int a = stage * StageChunks + left, b = stage * StageChunks + right;
            Bits4 row0 = shared[b], row1 = shared[b + 32], row2 = shared[b + 64], row3 = shared[b + 96];
            sum0 = Strip.Multiply(format, sum0, shared[a], shared[a + 32], row0, row1, row2, row3);
            sum1 = Strip.Multiply(format, sum1, shared[a + 64], shared[a + 96], row0, row1, row2, row3);
            sum2 = Strip.Multiply(format, sum2, shared[a + 128], shared[a + 160], row0, row1, row2, row3);
            sum3 = Strip.Multiply(format, sum3, shared[a + 192], shared[a + 224], row0, row1, row2, row3);
            if (block % SegmentBlocks == SegmentBlocks - 1 || block == blocks - 1)
            {
                bool first = block < SegmentBlocks;
                total0 = first ? sum0 : Strip.Sum(total0, sum0);
                total1 = first ? sum1 : Strip.Sum(total1, sum1);
                total2 = first ? sum2 : Strip.Sum(total2, sum2);
                total3 = first ? sum3 : Strip.Sum(total3, sum3);
                sum0 = default;
                sum1 = default;
                sum2 = default;
                sum3 = default;
            }

            stage = stage == Stages - 1 ? 0 : stage + 1;
        }

        // Through shared memory, so that the epilogue's code stands here once and meets its memory row by row.
        Ptx.CpAsyncWaitAll();
        Group.Barrier();
        ArrayView<float> tile = shared.Cast<float>();
        int at = (warp / 2 * 32 + lane % 4 * 2) * Pitch + warp % 2 * 64 + lane / 4;
        Store(tile, at, total0);
        Store(tile, at + 16, total1);
        Store(tile, at + 32, total2);
        Store(tile, at + 48, total3);
        Group.Barrier();
        int column = firstColumn + thread;
        int count = IntrinsicMath.Min(TileRows, rows - firstRow);
        for (int i = 0; i < count && column < columns; i++)
        {
            Epilogue.Store(
                tile[i * Pitch + thread], firstRow + i, column, bias, activation, multiply, multiplyStride, residual,
                residualStride, pre, preStride, delta, deltaStride, output, outputStride);
        }
    }

    /// <summary>
    /// Eight rows, those from 8·(group / groups across) on, of 16 columns. Each warp makes every so-manieth segment, straight
    /// from memory; then a thread has an element, and adds its segments.
    /// </summary>
    [Kernel(256, typeof(BF16Tensor), Groups = 2)]
    [Kernel(256, typeof(TF32Tensor), Groups = 2)]
    public static void FewRows<TFormat>(
        ArrayView<float> x, long xStride, ArrayView<Bits4> w, long wStride, int rows, int inner, int innerBytes, int columns,
        int groupsAcross, int aligned, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride,
        ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta,
        long deltaStride, ArrayView<float> output, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        const int together = 16, elements = Few * FewColumns;
        ArrayView<float> sums = SharedMemory.Allocate<float>(together * elements);
        int thread = Group.IdxX, lane = thread % 32, warp = thread / 32, warps = Group.DimX / 32;
        int firstRow = Grid.IdxX / groupsAcross * Few, firstColumn = Grid.IdxX % groupsAcross * FewColumns;
        int blocks = (innerBytes + BlockBytes - 1) / BlockBytes, segments = (blocks + SegmentBlocks - 1) / SegmentBlocks;

        // Rows and columns past the end are made of the last one's numbers, and not stored.
        long row = IntrinsicMath.Min(firstRow + lane / 4, rows - 1) * xStride;
        long low = IntrinsicMath.Min(firstColumn + lane / 4, columns - 1) * wStride;
        long high = IntrinsicMath.Min(firstColumn + lane / 4 + 8, columns - 1) * wStride;
        float total = 0;
        for (int first = 0; first < segments; first += together)
        {
            int end = IntrinsicMath.Min(first + together, segments);
            for (int segment = first + warp; segment < end; segment += warps)
            {
                Sum4 sum = Segment<TFormat>(
                    x, row, w, low, high, segment * SegmentBlocks, blocks, lane % 4, inner, innerBytes, aligned != 0);
                int at = (segment - first) * elements + lane % 4 * (2 * FewColumns) + lane / 4;
                sums[at] = sum.X;
                sums[at + FewColumns] = sum.Y;
                sums[at + 8] = sum.Z;
                sums[at + FewColumns + 8] = sum.W;
            }

            Group.Barrier();
            for (int segment = first; segment < end && thread < elements; segment++)
            {
                float sum = sums[(segment - first) * elements + thread];
                total = segment == 0 ? sum : total + sum;
            }

            Group.Barrier();
        }

        int ownRow = firstRow + thread / FewColumns, column = firstColumn + thread % FewColumns;
        if (thread < elements && ownRow < rows && column < columns)
        {
            Epilogue.Store(
                total, ownRow, column, bias, activation, multiply, multiplyStride, residual, residualStride, pre, preStride,
                delta, deltaStride, output, outputStride);
        }
    }

    /// <summary>One segment of 16 columns and 8 rows. All loads of a whole one are in flight at a time.</summary>
    private static Sum4 Segment<TFormat>(
        ArrayView<float> x, long row, ArrayView<Bits4> w, long low, long high, int block, int blocks, int t, int inner,
        int innerBytes, bool aligned)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        Sum4 sum = default;
        int chunk = block * BlockChunks + t;
        if (aligned && (block + SegmentBlocks) * BlockBytes <= innerBytes)
        {
            low += chunk;
            high += chunk;
            Bits4 low0 = w[low], low1 = w[low + 4], low2 = w[low + 8], low3 = w[low + 12];
            Bits4 low4 = w[low + 16], low5 = w[low + 20], low6 = w[low + 24], low7 = w[low + 28];
            Bits4 high0 = w[high], high1 = w[high + 4], high2 = w[high + 8], high3 = w[high + 12];
            Bits4 high4 = w[high + 16], high5 = w[high + 20], high6 = w[high + 24], high7 = w[high + 28];
            sum = format.Multiply(sum, low0, high0, format.Round(x, row, chunk, inner, true));
            sum = format.Multiply(sum, low1, high1, format.Round(x, row, chunk + 4, inner, true));
            sum = format.Multiply(sum, low2, high2, format.Round(x, row, chunk + 8, inner, true));
            sum = format.Multiply(sum, low3, high3, format.Round(x, row, chunk + 12, inner, true));
            sum = format.Multiply(sum, low4, high4, format.Round(x, row, chunk + 16, inner, true));
            sum = format.Multiply(sum, low5, high5, format.Round(x, row, chunk + 20, inner, true));
            sum = format.Multiply(sum, low6, high6, format.Round(x, row, chunk + 24, inner, true));
            return format.Multiply(sum, low7, high7, format.Round(x, row, chunk + 28, inner, true));
        }

        for (int end = IntrinsicMath.Min(block + SegmentBlocks, blocks); block < end; block++, chunk += BlockChunks)
        {
            int bytes = innerBytes - chunk * 16;
            sum = format.Multiply(
                sum, Load(w, low + chunk, bytes), Load(w, high + chunk, bytes), format.Round(x, row, chunk, inner, aligned));
        }

        return sum;
    }

    /// <summary>A chunk of which only some bytes count, as <see cref="Ptx.CpAsync16"/> copies it.</summary>
    private static Bits4 Load(ArrayView<Bits4> w, long index, int bytes)
    {
        Bits4 bits = default;
        if (bytes > 0)
        {
            Bits4 all = w[index];
            bits.X = Keep(all.X, bytes);
            bits.Y = Keep(all.Y, bytes - 4);
            bits.Z = Keep(all.Z, bytes - 8);
            bits.W = Keep(all.W, bytes - 12);
        }

        return bits;
    }

    private static uint Keep(uint bits, int bytes) => bytes >= 4 ? bits : bytes == 2 ? bits & 0xffff : 0;

    /// <summary>Begins to copy a block of the tile's columns and rows into a stage, as one group of copies; zeros past every
    /// end.</summary>
    private static void Begin(
        ArrayView<Bits4> shared, int stage, ArrayView<Bits4> x, long xStride, ArrayView<Bits4> w, long wStride, int firstRow,
        int rows, int firstColumn, int columns, int innerBytes, int block)
    {
        int line = Group.IdxX / BlockChunks, t = Group.IdxX % BlockChunks, chunk = block * BlockChunks + t;
        int bytes = IntrinsicMath.Clamp(innerBytes - chunk * 16, 0, 16), to = stage * StageChunks + Group.IdxX;
        if (block * BlockBytes < innerBytes)
        {
            for (int i = 0; i < TileColumns; i += 32)
            {
                int column = firstColumn + line + i;
                Copy(shared, to + i * BlockChunks, w, column, columns, wStride, chunk, bytes);
            }

            for (int i = 0; i < TileRows; i += 32)
            {
                Copy(shared, to + (TileColumns + i) * BlockChunks, x, firstRow + line + i, rows, xStride, chunk, bytes);
            }
        }

        Ptx.CpAsyncCommit();
    }

    private static void Copy(
        ArrayView<Bits4> shared, int to, ArrayView<Bits4> from, int line, int lines, long stride, int chunk, int bytes)
    {
        int count = line < lines ? bytes : 0;
        long at = count > 0 ? line * stride + chunk : 0;
        Ptx.CpAsync16(ref shared.Cast<uint>()[to * 4], ref from.Cast<uint>()[at * 4], count);
    }

    private static void Store(ArrayView<float> tile, int at, Strip strip)
    {
        Store(tile, at, strip.Rows0);
        Store(tile, at + 8 * Pitch, strip.Rows8);
        Store(tile, at + 16 * Pitch, strip.Rows16);
        Store(tile, at + 24 * Pitch, strip.Rows24);
    }

    private static void Store(ArrayView<float> tile, int at, Sum4 sum)
    {
        tile[at] = sum.X;
        tile[at + Pitch] = sum.Y;
        tile[at + 8] = sum.Z;
        tile[at + Pitch + 8] = sum.W;
    }

    /// <summary>A lane's sums for 16 columns and 32 rows.</summary>
    private struct Strip
    {
        public Sum4 Rows0, Rows8, Rows16, Rows24;

        public static Strip Multiply<TFormat>(TFormat format, Strip c, Bits4 low, Bits4 high, Bits4 row0, Bits4 row1, Bits4 row2,
            Bits4 row3)
            where TFormat : struct, ITensorFormat => new()
            {
                Rows0 = format.Multiply(c.Rows0, low, high, row0),
                Rows8 = format.Multiply(c.Rows8, low, high, row1),
                Rows16 = format.Multiply(c.Rows16, low, high, row2),
                Rows24 = format.Multiply(c.Rows24, low, high, row3),
            };

        public static Strip Sum(Strip a, Strip b) => new()
        {
            Rows0 = Add(a.Rows0, b.Rows0),
            Rows8 = Add(a.Rows8, b.Rows8),
            Rows16 = Add(a.Rows16, b.Rows16),
            Rows24 = Add(a.Rows24, b.Rows24),
        };

        private static Sum4 Add(Sum4 a, Sum4 b) => new() { X = a.X + b.X, Y = a.Y + b.Y, Z = a.Z + b.Z, W = a.W + b.W };
    }
}
