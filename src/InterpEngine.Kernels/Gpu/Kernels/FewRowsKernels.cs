using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products of up to 16 rows on tensor cores, at the speed at which the weight comes from memory: what a step of a generation does. Groups
/// stay and go from columns to columns; each warp makes one segment of K at a time, while the next one is copied to a place in shared
/// memory that is its alone: every lane reads what it copied itself, so that nobody waits for anybody.
/// </summary>
internal static class FewRowsKernels
{
    /// <summary>Columns that a group makes at a time.</summary>
    public const int Columns = 8;

    /// <summary>The most rows.</summary>
    public const int MostRows = TensorRowKernels.Rows;

    /// <summary>Products that one launch makes.</summary>
    public const int MostProducts = 3;

    /// <summary>Groups that fit on a multiprocessor.</summary>
    public const int GroupsAtOnce = 3;

    /// <summary>Bytes of shared memory: each warp's segments.</summary>
    public const int SharedBytes = Warps * Stages * SegmentChunks * 16;

    private const int Threads = 256, Warps = Threads / 32;
    private const int Elements = MostRows * Columns;
    private const int BlockBytes = TensorProductKernels.BlockBytes, SegmentBlocks = TensorProductKernels.SegmentBlocks;
    private const int Stages = 2, SegmentChunks = SegmentBlocks * 32;

    /// <summary>One product with all that may follow it.</summary>
    [Kernel(Threads, typeof(BF16Tensor), Groups = GroupsAtOnce, DynamicBytes = SharedBytes)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = GroupsAtOnce, DynamicBytes = SharedBytes)]
    public static void One<TFormat>(
        ArrayView<Bits4> x, long xStride, int rows, int innerBytes, ArrayView<Bits4> w, long wStride, int columns, ArrayView<float> bias,
        int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride,
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
    [Kernel(Threads, typeof(BF16Tensor), Groups = GroupsAtOnce, DynamicBytes = SharedBytes)]
    [Kernel(Threads, typeof(TF32Tensor), Groups = GroupsAtOnce, DynamicBytes = SharedBytes)]
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
        ArrayView<Bits4> shared = SharedMemory.GetDynamic<Bits4>();
        ArrayView<float> sums = SharedMemory.Allocate<float>(2 * Warps * Elements);
        int thread = Group.IdxX, warp = thread >> 5;
        int blocks = (innerBytes + BlockBytes - 1) / BlockBytes, segments = (blocks + SegmentBlocks - 1) / SegmentBlocks;
        int own = warp * (Stages * SegmentChunks) + (thread & 31);
        var plan = new Plan
        {
            Tiles0 = DivideUp(first.Columns),
            Tiles1 = DivideUp(second.Columns),
            Tiles2 = DivideUp(third.Columns),
            Count = count,
            Paired = paired,
            Rounds = IntrinsicMath.Max(1, (segments + Warps - 1) / Warps),
        };
        var now = new Cursor { Item = Grid.IdxX };
        Cursor ahead = now;
        for (int stage = 0; stage < Stages; stage++)
        {
            Begin(shared, own + stage * SegmentChunks, plan, ahead, first, second, third, warp, segments, innerBytes);
            ahead = ahead.Next(plan);
        }

        float total = 0;
        int turn = 0;
        while (now.Item < plan.Items)
        {
            // Two places for sums: while some threads add those of this round, others write those of the next.
            int segment = now.Round * Warps + warp, at = own + turn * SegmentChunks, place = turn * (Warps * Elements);
            if (segment < segments)
            {
                Sum4 sum = Chain<TFormat>(shared, at, x, segment * SegmentBlocks, innerBytes);
                int to = place + warp * Elements + (thread >> 2 & 7) * Columns + (thread & 3) * 2;
                sums[to] = sum.X;
                sums[to + 1] = sum.Y;
                sums[to + 8 * Columns] = sum.Z;
                sums[to + 8 * Columns + 1] = sum.W;
            }
            else
            {
                Ptx.CpAsyncWaitAllButOne();
            }

            Begin(shared, at, plan, ahead, first, second, third, warp, segments, innerBytes);
            ahead = ahead.Next(plan);
            Group.Barrier();
            if (thread < Elements)
            {
                int there = IntrinsicMath.Min(Warps, segments - now.Round * Warps);
                for (int i = 0; i < there; i++)
                {
                    total += sums[place + i * Elements + thread];
                }

                if (now.Round == plan.Rounds - 1)
                {
                    int which = now.Which(plan);
                    Finish(
                        which == 0 ? first : which == 1 ? second : third, total, thread / Columns,
                        now.Tile(plan, which) * Columns + thread % Columns, x.Rows);
                    total = 0;
                }
            }

            now = now.Next(plan);
            turn ^= 1;
        }

        Ptx.CpAsyncWaitAll();
    }

    /// <summary>Begins to copy a warp's segment of a step, as one group of copies; zeros past the end of K. Columns past the end are made of
    /// the last one's numbers.</summary>
    private static void Begin(
        ArrayView<Bits4> shared, int to, Plan plan, Cursor step, Product first, Product second, Product third, int warp, int segments,
        int innerBytes)
    {
        int segment = step.Round * Warps + warp;
        if (step.Item < plan.Items && segment < segments)
        {
            int which = step.Which(plan), lane = Group.IdxX & 31;
            ArrayView<Bits4> w = which == 0 ? first.W : which == 1 ? second.W : third.W;
            long stride = which == 0 ? first.WStride : which == 1 ? second.WStride : third.WStride;
            int columns = which == 0 ? first.Columns : which == 1 ? second.Columns : third.Columns;
            int column = IntrinsicMath.Min(step.Tile(plan, which) * Columns + (lane >> 2), columns - 1);
            int chunk = segment * (SegmentBlocks * 4) + (lane & 3), bytes = innerBytes - chunk * 16;
            long from = column * stride + chunk;
            for (int block = 0; block < SegmentBlocks; block++)
            {
                int count = IntrinsicMath.Clamp(bytes - block * BlockBytes, 0, 16);
                Ptx.CpAsync16(
                    ref shared.Cast<uint>()[(to + block * 32) * 4], ref w.Cast<uint>()[count > 0 ? (from + block * 4) * 4 : 0], count);
            }
        }

        Ptx.CpAsyncCommit();
    }

    /// <summary>A segment's chain for 16 rows, once its copy is there. A block that is not there has no part in it.</summary>
    private static Sum4 Chain<TFormat>(ArrayView<Bits4> shared, int at, RowsOfX x, int block, int innerBytes)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        Sum4 sum = default;
        int lane = Group.IdxX & 31, row = lane >> 2, chunk = block * 4 + (lane & 3);
        if (x.Rows <= 8 && (block + SegmentBlocks) * BlockBytes <= innerBytes)
        {
            // X is on its way while the copy is waited for.
            Bits4 x0 = x.Chunk(row, chunk, true), x1 = x.Chunk(row, chunk + 4, true);
            Bits4 x2 = x.Chunk(row, chunk + 8, true), x3 = x.Chunk(row, chunk + 12, true);
            Bits4 x4 = x.Chunk(row, chunk + 16, true), x5 = x.Chunk(row, chunk + 20, true);
            Bits4 x6 = x.Chunk(row, chunk + 24, true), x7 = x.Chunk(row, chunk + 28, true);
            Ptx.CpAsyncWaitAllButOne();
            sum = format.Multiply(sum, TensorRowKernels.Operand(x0, default), shared[at]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x1, default), shared[at + 32]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x2, default), shared[at + 64]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x3, default), shared[at + 96]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x4, default), shared[at + 128]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x5, default), shared[at + 160]);
            sum = format.Multiply(sum, TensorRowKernels.Operand(x6, default), shared[at + 192]);
            return format.Multiply(sum, TensorRowKernels.Operand(x7, default), shared[at + 224]);
        }

        Ptx.CpAsyncWaitAllButOne();
        for (int i = 0; i < SegmentBlocks && (block + i) * BlockBytes < innerBytes; i++)
        {
            bool there = (chunk + i * 4) * 16 < innerBytes;
            Both<Bits4> operand = TensorRowKernels.Operand(
                x.Chunk(row, chunk + i * 4, there), x.Chunk(row + 8, chunk + i * 4, there));
            sum = format.Multiply(sum, operand, shared[at + i * 32]);
        }

        return sum;
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

    /// <summary>What all of a launch's groups do together.</summary>
    private struct Plan
    {
        public int Tiles0, Tiles1, Tiles2, Count;

        /// <summary>Rounds in which the warps get through K.</summary>
        public int Rounds;

        public bool Paired;

        /// <summary>Columns of products: all of the first product, then of the second; or with pairs those of all products together.</summary>
        public readonly int Items =>
            Paired || Count == 1 ? Tiles0 : Count == 2 ? Tiles0 + Tiles1 : Tiles0 + Tiles1 + Tiles2;
    }

    /// <summary>A step of a group: one round of one product's columns.</summary>
    private struct Cursor
    {
        public int Item, Product, Round;

        public readonly Cursor Next(Plan plan)
        {
            Cursor next = this;
            next.Round++;
            if (next.Round == plan.Rounds)
            {
                next.Round = 0;
                next.Product++;
                if (!plan.Paired || next.Product == plan.Count)
                {
                    next.Product = 0;
                    next.Item += Grid.DimX;
                }
            }

            return next;
        }

        public readonly int Which(Plan plan) =>
            plan.Paired ? Product : Item < plan.Tiles0 ? 0 : Item < plan.Tiles0 + plan.Tiles1 ? 1 : 2;

        public readonly int Tile(Plan plan, int which) =>
            plan.Paired || which == 0 ? Item : which == 1 ? Item - plan.Tiles0 : Item - plan.Tiles0 - plan.Tiles1;
    }
}
