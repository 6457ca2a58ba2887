using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Products with sparse rows, and their transposition, without float atomics: every sum runs in its fixed order.</summary>
internal static class SparseKernels
{
    private const int MostThreads = 256;

    /// <summary>Entries whose columns and values lie in shared memory at a time.</summary>
    private const int Batch = 256;

    /// <summary>A group for each row and as many columns as its threads make, four each.</summary>
    [Kernel(128, typeof(AtOnce))]
    [Kernel(128, typeof(OneByOne))]
    public static void Multiply<TAccess>(
        ArrayView<int> pointers, ArrayView<int> indices, ArrayView<float> values, ArrayView<int> order, float scale, ArrayView<float> m,
        long mStride, int mRows, ArrayView<float> offset, ArrayView<float> bias, ArrayView<float> target, long targetStride, int accumulate,
        ArrayView<float> output, long stride, int columns, int blocks, ArrayView<int> faults)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        ArrayView<int> rowsOf = SharedMemory.Allocate<int>(Batch);
        ArrayView<float> factors = SharedMemory.Allocate<float>(Batch);
        int row = Grid.IdxX / blocks, column = (Grid.IdxX % blocks * Group.DimX + Group.IdxX) * 4, count = columns - column;
        Span span = Span.Of(pointers, row, indices.IntLength, faults);
        Four sum = default, less = default;
        if (bias.Length != 0)
        {
            sum = access.Load(bias, column, count);
        }
        else if (accumulate != 0)
        {
            sum = access.Load(output, row * stride + column, count);
        }

        if (target.Length != 0)
        {
            sum = Four.Difference(sum, access.Load(target, row * targetStride + column, count));
        }

        if (offset.Length != 0)
        {
            less = access.Load(offset, column, count);
        }

        for (int first = span.First; first < span.End; first += Batch)
        {
            int batch = IntrinsicMath.Min(Batch, span.End - first);
            Group.Barrier();
            for (int i = Group.IdxX; i < batch; i += Group.DimX)
            {
                int place = order.Length != 0 ? TableKernels.Checked(order[first + i], values.IntLength, (int)IndexedOp.SparseProduct, faults) : first + i;
                rowsOf[i] = Checked(indices[first + i], mRows, faults);
                factors[i] = place < 0 ? 0 : values[place] * scale;
            }

            Group.Barrier();
            int e = 0;
            for (; e + 4 <= batch && count > 0; e += 4)
            {
                // Four rows are on their way at a time.
                Four m0 = Load<TAccess>(m, rowsOf[e], mStride, column, count), m1 = Load<TAccess>(m, rowsOf[e + 1], mStride, column, count);
                Four m2 = Load<TAccess>(m, rowsOf[e + 2], mStride, column, count), m3 = Load<TAccess>(m, rowsOf[e + 3], mStride, column, count);
                if (offset.Length != 0)
                {
                    m0 = Four.Difference(m0, less);
                    m1 = Four.Difference(m1, less);
                    m2 = Four.Difference(m2, less);
                    m3 = Four.Difference(m3, less);
                }

                sum = Four.Fma(factors[e], m0, sum);
                sum = Four.Fma(factors[e + 1], m1, sum);
                sum = Four.Fma(factors[e + 2], m2, sum);
                sum = Four.Fma(factors[e + 3], m3, sum);
            }

            for (; e < batch && count > 0; e++)
            {
                Four m0 = Load<TAccess>(m, rowsOf[e], mStride, column, count);
                if (offset.Length != 0)
                {
                    m0 = Four.Difference(m0, less);
                }

                sum = Four.Fma(factors[e], m0, sum);
            }
        }

        access.Store(output, row * stride + column, sum, count);
    }

    /// <summary>A group for each row, a warp for each of its entries.</summary>
    [Kernel(128, typeof(AtOnce))]
    [Kernel(128, typeof(OneByOne))]
    public static void Dots<TAccess>(
        ArrayView<float> x, long xStride, ArrayView<int> pointers, ArrayView<int> indices, ArrayView<float> m, long mStride, int mRows, int columns,
        ArrayView<float> output, ArrayView<int> faults)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        long row = Grid.IdxX * xStride;
        int warps = Group.DimX / Warp.WarpSize;
        Span span = Span.Of(pointers, Grid.IdxX, IntrinsicMath.Min(indices.IntLength, output.IntLength), faults);
        for (int e = span.First + Group.IdxX / Warp.WarpSize; e < span.End; e += warps)
        {
            int other = Checked(indices[e], mRows, faults);
            float sum = 0;
            for (int column = Warp.LaneIdx * 4; column < columns; column += Warp.WarpSize * 4)
            {
                Four a = access.Load(x, row + column, columns - column), b = Load<TAccess>(m, other, mStride, column, columns - column);
                sum = Ptx.Fma(a.D, b.D, Ptx.Fma(a.C, b.C, Ptx.Fma(a.B, b.B, Ptx.Fma(a.A, b.A, sum))));
            }

            sum = GroupTree.SumOfWarp(sum);
            if (Warp.LaneIdx == 0)
            {
                output[e] = sum;
            }
        }
    }

    /// <summary>How many entries of each column there are in each part of the rows, a group for each part. Counts are zero before.</summary>
    [Kernel(MostThreads)]
    public static void CountColumns(
        ArrayView<int> pointers, ArrayView<int> indices, int rows, int columns, ArrayView<int> counts, ArrayView<int> faults)
    {
        int first = (int)((long)Grid.IdxX * rows / Grid.DimX), last = (int)((Grid.IdxX + 1L) * rows / Grid.DimX);
        for (int row = first; row < last; row++)
        {
            Span span = Span.Of(pointers, row, indices.IntLength, faults);
            for (int e = span.First + Group.IdxX; e < span.End; e += Group.DimX)
            {
                int column = Checked(indices[e], columns, faults);
                if (column >= 0)
                {
                    Atomic.Add(ref counts[(long)Grid.IdxX * columns + column], 1);
                }
            }
        }
    }

    /// <summary>Counts become what earlier parts have of the column, and totals what all have; a thread for each column.</summary>
    [Kernel(MostThreads)]
    public static void AddParts(ArrayView<int> counts, int parts, int columns, ArrayView<int> totals)
    {
        int column = Grid.IdxX * Group.DimX + Group.IdxX, sum = 0;
        for (int part = 0; part < parts && column < columns; part++)
        {
            long at = (long)part * columns + column;
            int own = counts[at];
            counts[at] = sum;
            sum += own;
        }

        if (column < columns)
        {
            totals[column] = sum;
        }
    }

    /// <summary>Entries to where their columns have them, a group for each part of the rows, which it takes one after the other: a column
    /// stands in a row once.</summary>
    [Kernel(MostThreads)]
    public static void Turn(
        ArrayView<int> pointers, ArrayView<int> indices, int rows, int columns, ArrayView<int> counts, ArrayView<int> starts,
        ArrayView<int> turned, ArrayView<int> order, ArrayView<int> faults)
    {
        int first = (int)((long)Grid.IdxX * rows / Grid.DimX), last = (int)((Grid.IdxX + 1L) * rows / Grid.DimX);
        for (int row = first; row < last; row++)
        {
            Span span = Span.Of(pointers, row, indices.IntLength, faults);
            for (int e = span.First + Group.IdxX; e < span.End; e += Group.DimX)
            {
                int column = indices[e];
                if (column >= 0 && column < columns)
                {
                    long own = (long)Grid.IdxX * columns + column;
                    int before = counts[own], at = starts[column] + before;
                    counts[own] = before + 1;
                    turned[at] = row;
                    order[at] = e;
                }
            }

            Group.Barrier();
        }
    }

    /// <summary>Column sums in double precision, and of the squares of deviations; 32 columns and as many parts of the rows as there are threads for
    /// each.</summary>
    [Kernel(MostThreads)]
    public static void Statistics(
        ArrayView<float> x, long stride, int rows, int columns, int across, ArrayView<float> sums, ArrayView<float> deviations)
    {
        ArrayView<double> parts = SharedMemory.Allocate<double>(MostThreads);
        int own = Group.IdxX % across, column = Grid.IdxX * across + own, part = Group.IdxX / across, down = Group.DimX / across;
        double mean = 0;
        for (int pass = 0; pass < (deviations.Length != 0 ? 2 : 1); pass++)
        {
            double sum = 0;
            for (int row = (int)((long)part * rows / down); column < columns && row < (int)((part + 1L) * rows / down); row++)
            {
                double distance = x[row * stride + column] - mean;
                sum += pass == 0 ? distance : distance * distance;
            }

            parts[Group.IdxX] = sum;
            Group.Barrier();
            sum = 0;
            for (int i = 0; i < down; i++)
            {
                sum += parts[i * across + own];
            }

            if (part == 0 && column < columns)
            {
                if (pass == 0)
                {
                    sums[column] = (float)sum;
                }
                else
                {
                    deviations[column] = (float)sum;
                }
            }

            mean = sum / rows;
            Group.Barrier();
        }
    }

    /// <summary>A row of a matrix; zeros for one that is not there.</summary>
    private static Four Load<TAccess>(ArrayView<float> m, int row, long stride, int column, int count) where TAccess : struct, IAccess
    {
        TAccess access = default;
        return access.Load(m, row * stride + column, row < 0 ? 0 : count);
    }

    private static int Checked(int index, int rows, ArrayView<int> faults) =>
        TableKernels.Required(index, rows, (int)IndexedOp.SparseProduct, faults);

    /// <summary>The entries of a row.</summary>
    private struct Span
    {
        public int First, End;

        public static Span Of(ArrayView<int> pointers, int row, int capacity, ArrayView<int> faults)
        {
            var span = new Span { First = pointers[row], End = pointers[row + 1] };
            if (span.First < 0 || span.End < span.First || span.End > capacity)
            {
                faults[0] = (int)IndexedOp.SparseProduct;
                span = default;
            }

            return span;
        }
    }
}
