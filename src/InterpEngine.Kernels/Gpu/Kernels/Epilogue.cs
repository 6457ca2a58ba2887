using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>What follows a product's sum; views are empty where an argument is not given.</summary>
internal static class Epilogue
{
    /// <summary>Finishes and stores one element, in fp32 or BF16. Every step rounds once, as separate ops would.</summary>
    public static void Store(
        float sum, long row, int column, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride,
        ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
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

        value = residual.Length != 0 ? residual[row * residualStride + column] + value : value;
        if (narrow.Length != 0)
        {
            narrow[row * outputStride + column] = (ushort)Elementary.RoundBF16(value);
        }
        else
        {
            output[row * outputStride + column] = value;
        }
    }

    /// <summary>Finishes sums that a library left: one group for each row and as many columns as its threads make, four each.</summary>
    [Kernel(256, typeof(AtOnce))]
    [Kernel(256, typeof(OneByOne))]
    public static void Finish<TAccess>(
        ArrayView<float> sums, long sumsStride, int columns, int blocks, ArrayView<float> bias, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta,
        long deltaStride, ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
        where TAccess : struct, IAccess
    {
        TAccess access = default;
        long row = Grid.IdxX / blocks;
        int column = (Grid.IdxX % blocks * Group.DimX + Group.IdxX) * 4, count = columns - column;
        if (count <= 0)
        {
            return;
        }

        Four four = access.Load(sums, row * sumsStride + column, count), with = default, added = default;
        if (multiply.Length != 0)
        {
            with = access.Load(multiply, row * multiplyStride + column, count);
        }

        if (residual.Length != 0)
        {
            added = access.Load(residual, row * residualStride + column, count);
        }

        if (bias.Length != 0)
        {
            four = Four.Sum(four, access.Load(bias, column, count));
        }

        if (pre.Length != 0)
        {
            access.Store(pre, row * preStride + column, four, count);
        }

        four = Elementary.Activate(activation, four);
        if (multiply.Length != 0)
        {
            four = Four.Product(four, with);
        }

        if (delta.Length != 0)
        {
            access.Store(delta, row * deltaStride + column, four, count);
        }

        if (residual.Length != 0)
        {
            four = Four.Sum(added, four);
        }

        if (narrow.Length != 0)
        {
            access.Store(narrow, row * outputStride + column, four, count);
        }
        else
        {
            access.Store(output, row * outputStride + column, four, count);
        }
    }
}
