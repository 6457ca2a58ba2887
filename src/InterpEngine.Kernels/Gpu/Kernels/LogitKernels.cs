using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Logarithms of the softmax. A group makes a row; or, where a row is long, a slice of it, three times: its maximum, its part of the sum,
/// and its results. How a row is cut depends on its length alone.
/// </summary>
internal static class LogitKernels
{
    /// <summary>Columns of a slice; a longer row is cut.</summary>
    public const int Slice = 4096;

    [Kernel(256)]
    public static void LogSoftmax(ArrayView<float> x, long xStride, int columns, ArrayView<float> output, long stride)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        long row = Grid.IdxX * xStride, to = Grid.IdxX * stride;
        float max = Max(x, row, columns, scratch), log = Elementary.Log(Sum(x, row, columns, max, scratch));
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            output[to + i] = x[row + i] - max - log;
        }
    }

    /// <summary>At <paramref name="count"/> columns of each row.</summary>
    [Kernel(256)]
    public static void LogProbability(
        ArrayView<float> x, long xStride, int columns, ArrayView<int> targets, ArrayView<float> output, int count, ArrayView<int> faults)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        long row = Grid.IdxX * xStride, first = (long)Grid.IdxX * count;
        float max = Max(x, row, columns, scratch), log = Elementary.Log(Sum(x, row, columns, max, scratch));
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            int target = TableKernels.Checked(targets[first + i], columns, (int)IndexedOp.LogProbability, faults);
            output[first + i] = target < 0 ? 0 : x[row + target] - max - log;
        }
    }

    [Kernel(256)]
    public static void SliceMax(ArrayView<float> x, long xStride, int columns, int slices, ArrayView<float> maxima)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        int first = Grid.IdxX % slices * Slice, count = IntrinsicMath.Min(Slice, columns - first);
        float max = Max(x, Grid.IdxX / slices * xStride + first, count, scratch);
        if (Group.IdxX == 0)
        {
            maxima[Grid.IdxX] = max;
        }
    }

    [Kernel(256)]
    public static void SliceSum(
        ArrayView<float> x, long xStride, int columns, int slices, ArrayView<float> maxima, ArrayView<float> sums)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        int row = Grid.IdxX / slices, first = Grid.IdxX % slices * Slice, count = IntrinsicMath.Min(Slice, columns - first);
        float sum = Sum(x, row * xStride + first, count, MaxOf(maxima, row, slices), scratch);
        if (Group.IdxX == 0)
        {
            sums[Grid.IdxX] = sum;
        }
    }

    /// <summary>A group for each slice of each row.</summary>
    [Kernel(256)]
    public static void LogSoftmaxOf(
        ArrayView<float> x, long xStride, int columns, int slices, ArrayView<float> maxima, ArrayView<float> sums, ArrayView<float> output,
        long stride)
    {
        int row = Grid.IdxX / slices, first = Grid.IdxX % slices * Slice, end = IntrinsicMath.Min(first + Slice, columns);
        float max = MaxOf(maxima, row, slices), log = Elementary.Log(SumOf(sums, row, slices));
        for (int i = first + Group.IdxX; i < end; i += Group.DimX)
        {
            output[row * stride + i] = x[row * xStride + i] - max - log;
        }
    }

    /// <summary>A group for each row.</summary>
    [Kernel(256)]
    public static void LogProbabilityOf(
        ArrayView<float> x, long xStride, int columns, int slices, ArrayView<float> maxima, ArrayView<float> sums, ArrayView<int> targets,
        ArrayView<float> output, int count, ArrayView<int> faults)
    {
        int row = Grid.IdxX;
        float max = MaxOf(maxima, row, slices), log = Elementary.Log(SumOf(sums, row, slices));
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            long at = (long)row * count + i;
            int target = TableKernels.Checked(targets[at], columns, (int)IndexedOp.LogProbability, faults);
            output[at] = target < 0 ? 0 : x[row * xStride + target] - max - log;
        }
    }

    private static float MaxOf(ArrayView<float> maxima, int row, int slices)
    {
        float max = maxima[row * slices];
        for (int i = 1; i < slices; i++)
        {
            max = Elementary.Max(max, maxima[row * slices + i]);
        }

        return max;
    }

    private static float SumOf(ArrayView<float> sums, int row, int slices)
    {
        float sum = sums[row * slices];
        for (int i = 1; i < slices; i++)
        {
            sum += sums[row * slices + i];
        }

        return sum;
    }

    private static float Max(ArrayView<float> x, long row, int columns, ArrayView<float> scratch)
    {
        float max = float.NegativeInfinity;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            max = Elementary.Max(max, x[row + i]);
        }

        return GroupTree.Max(max, scratch);
    }

    private static float Sum(ArrayView<float> x, long row, int columns, float max, ArrayView<float> scratch)
    {
        float sum = 0;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            sum += Elementary.Exp(x[row + i] - max);
        }

        return GroupTree.Sum(sum, scratch);
    }
}
