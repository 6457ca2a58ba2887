using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Logarithms of the softmax, a group for each row.</summary>
internal static class LogitKernels
{
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
