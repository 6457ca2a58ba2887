using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products of up to 16 rows on tensor cores, at the speed at which the weight comes from memory: what a step of a generation does. Groups
/// stay and go from columns to columns; each warp makes one segment of K at a time, and the next segment is on its way while the sums of
/// this one are added.
/// </summary>
internal static class FewRowsKernels
{
    /// <summary>Columns that a group makes at a time.</summary>
    public const int Columns = 8;

    /// <summary>The most rows.</summary>
    public const int MostRows = TensorRowKernels.Rows;

    /// <summary>Products that one launch makes.</summary>
    public const int MostProducts = 3;

    private const int Threads = 256, Warps = Threads / 32;
    private const int Elements = MostRows * Columns;
    private const int BlockBytes = TensorProductKernels.BlockBytes, SegmentBlocks = TensorProductKernels.SegmentBlocks;

    /// <summary>One product with all that may follow it.</summary>
    [Kernel(Threads, typeof(BF16Tensor), Groups = 2)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = 2)]
    public static void One<TFormat>(
        ArrayView<Bits4> x, long xStride, int rows, int innerBytes, ArrayView<Bits4> w, long wStride, int columns, ArrayView<float> bias, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride,
        ArrayView<float> delta, long deltaStride, ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
        where TFormat : struct, ITensorFormat
    {
        var product = new Product
        {
            W = w,
            WStride = wStride,
            Columns = columns,
            Bias = bias,
            Activation = activation,
            Multiply = multiply,
            MultiplyStride = multiplyStride,
            Residual = residual,
            ResidualStride = residualStride,
            Pre = pre,
            PreStride = preStride,
            Delta = delta,
            DeltaStride = deltaStride,
            Output = output,
            Narrow = narrow,
            OutputStride = outputStride,
        };
        var rowsOfX = new RowsOfX { X = x, Stride = xStride, Rows = rows };
        Run<TFormat>(rowsOfX, innerBytes, product, product, product, 1, paired: false);
    }

    /// <summary>
    /// Up to three products of one X. Where they are paired they have as many columns each, and a later one may read an earlier
    /// one's result: the same thread makes both.
    /// </summary>
    [Kernel(Threads, typeof(BF16Tensor), Groups = 2)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = 2)]
    public static void Together<TFormat>(
        ArrayView<Bits4> x, long xStride, int rows, int innerBytes, int count, int paired,
        ArrayView<Bits4> w0, long wStride0, int columns0, ArrayView<float> bias0, int activation0, ArrayView<float> multiply0,
        long multiplyStride0, ArrayView<float> output0, ArrayView<ushort> narrow0, long outputStride0,
        ArrayView<Bits4> w1, long wStride1, int columns1, ArrayView<float> bias1, int activation1, ArrayView<float> multiply1,
        long multiplyStride1, ArrayView<float> output1, ArrayView<ushort> narrow1, long outputStride1,
        ArrayView<Bits4> w2, long wStride2, int columns2, ArrayView<float> bias2, int activation2, ArrayView<float> multiply2,
        long multiplyStride2, ArrayView<float> output2, ArrayView<ushort> narrow2, long outputStride2)
        where TFormat : struct, ITensorFormat
    {
        Product first = Plain(w0, wStride0, columns0, bias0, activation0, multiply0, multiplyStride0, output0, narrow0, outputStride0);
        Product second = Plain(w1, wStride1, columns1, bias1, activation1, multiply1, multiplyStride1, output1, narrow1, outputStride1);
        Product third = Plain(w2, wStride2, columns2, bias2, activation2, multiply2, multiplyStride2, output2, narrow2, outputStride2);
        var rowsOfX = new RowsOfX { X = x, Stride = xStride, Rows = rows };
        Run<TFormat>(rowsOfX, innerBytes, first, second, third, count, paired != 0);
    }

    private static Product Plain(
        ArrayView<Bits4> w, long wStride, int columns, ArrayView<float> bias, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> output, ArrayView<ushort> narrow, long outputStride) => new()
        {
            W = w,
            WStride = wStride,
            Columns = columns,
            Bias = bias,
            Activation = activation,
            Multiply = multiply,
            MultiplyStride = multiplyStride,
            Output = output,
            Narrow = narrow,
            OutputStride = outputStride,
        };

    private static void Run<TFormat>(
        RowsOfX x, int innerBytes, Product first, Product second, Product third, int count, bool paired)
        where TFormat : struct, ITensorFormat
    {
        ArrayView<float> sums = SharedMemory.Allocate<float>(Warps * Elements);
        int thread = Group.IdxX, lane = thread & 31, warp = thread >> 5;
        int blocks = (innerBytes + BlockBytes - 1) / BlockBytes, segments = (blocks + SegmentBlocks - 1) / SegmentBlocks;

        // Items are products' columns: all of the first product, then of the second, or with pairs those of all products together.
        int tiles0 = DivideUp(first.Columns), tiles1 = DivideUp(second.Columns), tiles2 = DivideUp(third.Columns);
        int items = paired || count == 1 ? tiles0 : count == 2 ? tiles0 + tiles1 : tiles0 + tiles1 + tiles2;
        int item = Grid.IdxX, product = 0, segment = warp;
        if (item >= items)
        {
            return;
        }

        int which = paired ? 0 : item < tiles0 ? 0 : item < tiles0 + tiles1 ? 1 : 2;
        int tile = which == 0 ? item : which == 1 ? item - tiles0 : item - tiles0 - tiles1;
        Segment next = Segment.Load(which == 0 ? first : which == 1 ? second : third, tile, segment, segments, innerBytes);
        float total = 0;
        while (item < items)
        {
            int nowWhich = which, nowTile = tile, nowSegment = segment, begin = segment - warp;
            Segment now = next;

            // The step after this one: more of K, the next of the paired products, or other columns.
            segment += Warps;
            if (segment - warp >= segments)
            {
                segment = warp;
                product++;
                if (!paired || product == count)
                {
                    product = 0;
                    item += Grid.DimX;
                }

                which = paired ? product : item < tiles0 ? 0 : item < tiles0 + tiles1 ? 1 : 2;
                tile = paired || which == 0 ? item : which == 1 ? item - tiles0 : item - tiles0 - tiles1;
            }

            if (item < items)
            {
                next = Segment.Load(which == 0 ? first : which == 1 ? second : third, tile, segment, segments, innerBytes);
            }
            else
            {
                Ptx.Otherwise();
            }

            if (nowSegment < segments)
            {
                Sum4 sum = now.Multiply<TFormat>(x, nowSegment * SegmentBlocks, innerBytes);
                int at = warp * Elements + (lane >> 2) * Columns + (lane & 3) * 2;
                sums[at] = sum.X;
                sums[at + 1] = sum.Y;
                sums[at + 8 * Columns] = sum.Z;
                sums[at + 8 * Columns + 1] = sum.W;
            }

            Group.Barrier();
            int there = IntrinsicMath.Min(Warps, segments - begin);
            for (int i = 0; i < there && thread < Elements; i++)
            {
                total += sums[i * Elements + thread];
            }

            Group.Barrier();
            if (begin + Warps >= segments)
            {
                Finish(nowWhich == 0 ? first : nowWhich == 1 ? second : third, total, thread / Columns, nowTile * Columns + thread % Columns, x.Rows);
                total = 0;
            }
        }
    }

    private static void Finish(Product product, float total, int row, int column, int rows)
    {
        if (row < rows && column < product.Columns)
        {
            Epilogue.Store(
                total, row, column, product.Bias, product.Activation, product.Multiply, product.MultiplyStride, product.Residual,
                product.ResidualStride, product.Pre, product.PreStride, product.Delta, product.DeltaStride, product.Output,
                product.Narrow, product.OutputStride);
        }
    }

    private static int DivideUp(int columns) => (columns + Columns - 1) / Columns;

    private struct RowsOfX
    {
        public ArrayView<Bits4> X;
        public long Stride;
        public int Rows;

        /// <summary>A chunk of a row; zeros where there is none.</summary>
        public readonly Bits4 Chunk(int row, int chunk, bool there)
        {
            Bits4 bits = default;
            if (there && row < Rows)
            {
                bits = X[row * Stride + chunk];
            }

            return bits;
        }
    }

    private struct Product
    {
        public ArrayView<Bits4> W;
        public long WStride;
        public int Columns, Activation;
        public ArrayView<float> Bias, Multiply, Residual, Pre, Delta, Output;
        public ArrayView<ushort> Narrow;
        public long MultiplyStride, ResidualStride, PreStride, DeltaStride, OutputStride;
    }

    /// <summary>A lane's chunks of a segment of eight columns.</summary>
    private struct Segment
    {
        private Bits4 _0, _1, _2, _3, _4, _5, _6, _7;

        /// <summary>Begins to load one; zeros behind the last block. Columns past the end are made of the last one's numbers.</summary>
        public static Segment Load(Product product, int tile, int segment, int segments, int innerBytes)
        {
            Segment loaded = default;
            if (segment < segments)
            {
                int lane = Group.IdxX & 31, column = IntrinsicMath.Min(tile * Columns + (lane >> 2), product.Columns - 1);
                int chunk = segment * (SegmentBlocks * 4) + (lane & 3), bytes = innerBytes - chunk * 16;
                long at = column * product.WStride + chunk;
                loaded._0 = Chunk(product.W, at, bytes);
                loaded._1 = Chunk(product.W, at + 4, bytes - 64);
                loaded._2 = Chunk(product.W, at + 8, bytes - 128);
                loaded._3 = Chunk(product.W, at + 12, bytes - 192);
                loaded._4 = Chunk(product.W, at + 16, bytes - 256);
                loaded._5 = Chunk(product.W, at + 20, bytes - 320);
                loaded._6 = Chunk(product.W, at + 24, bytes - 384);
                loaded._7 = Chunk(product.W, at + 28, bytes - 448);
            }

            return loaded;
        }

        /// <summary>The segment's chain for 16 rows. A block that is not there has no part in it.</summary>
        public readonly Sum4 Multiply<TFormat>(RowsOfX x, int block, int innerBytes) where TFormat : struct, ITensorFormat
        {
            Sum4 sum = default;
            sum = Add<TFormat>(sum, x, block, innerBytes, _0);
            sum = Add<TFormat>(sum, x, block + 1, innerBytes, _1);
            sum = Add<TFormat>(sum, x, block + 2, innerBytes, _2);
            sum = Add<TFormat>(sum, x, block + 3, innerBytes, _3);
            sum = Add<TFormat>(sum, x, block + 4, innerBytes, _4);
            sum = Add<TFormat>(sum, x, block + 5, innerBytes, _5);
            sum = Add<TFormat>(sum, x, block + 6, innerBytes, _6);
            return Add<TFormat>(sum, x, block + 7, innerBytes, _7);
        }

        private static Sum4 Add<TFormat>(Sum4 sum, RowsOfX x, int block, int innerBytes, Bits4 w) where TFormat : struct, ITensorFormat
        {
            TFormat format = default;
            if (block * BlockBytes < innerBytes)
            {
                int lane = Group.IdxX & 31, row = lane >> 2, chunk = block * 4 + (lane & 3), bytes = innerBytes - chunk * 16;
                if ((block + 1) * BlockBytes > innerBytes)
                {
                    w = Keep(w, bytes);
                }

                Bits4 low = x.Chunk(row, chunk, bytes > 0), high = default;
                if (x.Rows > 8)
                {
                    high = x.Chunk(row + 8, chunk, bytes > 0);
                }

                sum = format.Multiply(sum, TensorRowKernels.Operand(low, high), w);
            }

            return sum;
        }

        private static Bits4 Chunk(ArrayView<Bits4> w, long index, int bytes)
        {
            Bits4 bits = default;
            if (bytes > 0)
            {
                bits = w[index];
            }

            return bits;
        }

        /// <summary>Only some bytes of a chunk, as <see cref="Ptx.CpAsync16"/> copies it. Not while it is loaded: that would wait for it.</summary>
        private static Bits4 Keep(Bits4 bits, int bytes) => new()
        {
            X = Keep(bits.X, bytes),
            Y = Keep(bits.Y, bytes - 4),
            Z = Keep(bits.Z, bytes - 8),
            W = Keep(bits.W, bytes - 12),
        };

        private static uint Keep(uint bits, int bytes) => bytes >= 4 ? bits : bytes == 2 ? bits & 0xffff : 0;
    }
}
