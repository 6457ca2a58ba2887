using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>What follows a product's sum; views are empty where an argument is not given.</summary>
internal static class Epilogue
{
    /// <summary>Finishes and stores one element. Every step rounds once, as separate ops would.</summary>
    public static void Store(
        float sum, long row, int column, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride,
        ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, long outputStride)
    {
        float value = bias.Length != 0 ? sum + bias[column] : sum;
        if (pre.Length != 0)
        {
            pre[row * preStride + column] = value;
        }

        value = Elementary.Activate(activation, value);
        if (multiply.Length != 0)
        {
            value *= multiply[row * multiplyStride + column];
        }

        if (delta.Length != 0)
        {
            delta[row * deltaStride + column] = value;
        }

        output[row * outputStride + column] = residual.Length != 0 ? residual[row * residualStride + column] + value : value;
    }

    /// <summary>Finishes sums that a library left, a thread an element.</summary>
    [Kernel(256)]
    public static void Finish(
        ArrayView<float> sums, long sumsStride, int rows, int columns, ArrayView<float> bias, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta,
        long deltaStride, ArrayView<float> output, long outputStride)
    {
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < (long)rows * columns)
        {
            long row = i / columns;
            int column = (int)(i - row * columns);
            Store(
                sums[row * sumsStride + column], row, column, bias, activation, multiply, multiplyStride, residual, residualStride, pre,
                preStride, delta, deltaStride, output, outputStride);
        }
    }
}
