using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Ops that read a weight's columns or a matrix's rows by index. A fault's number is left where an index is past the end.</summary>
internal static class TableKernels
{
    /// <summary>A group for each token.</summary>
    [Kernel(256, typeof(float), typeof(F32Format))]
    [Kernel(256, typeof(ushort), typeof(BF16Format))]
    public static void Embed<T, TFormat>(
        ArrayView<int> ids, ArrayView<T> table, long leading, int columns, int inner, ArrayView<float> output, long stride,
        ArrayView<int> faults)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        int token = Grid.IdxX, id = Checked(ids[token], columns, (int)IndexedOp.Embed, faults);
        for (int k = Group.IdxX; k < inner; k += Group.DimX)
        {
            output[token * stride + k] = id < 0 ? 0 : format.Read(table, id * leading + k);
        }
    }

    /// <summary>A group for each token; integers times the scales of their groups.</summary>
    [Kernel(256)]
    public static void EmbedIntegers(
        ArrayView<int> ids, ArrayView<sbyte> table, ArrayView<float> scales, long leading, int columns, int inner,
        ArrayView<float> output, long stride, ArrayView<int> faults)
    {
        int token = Grid.IdxX, id = Checked(ids[token], columns, (int)IndexedOp.Embed, faults);
        for (int k = Group.IdxX; k < inner; k += Group.DimX)
        {
            long at = id * leading + k;
            output[token * stride + k] = id < 0 ? 0 : table[at] * scales[at / Weight.GroupSize];
        }
    }

    /// <summary>A group for each row.</summary>
    [Kernel(256)]
    public static void Gather(
        ArrayView<float> from, long fromStride, int fromRows, ArrayView<int> indices, int columns, ArrayView<float> output, long stride,
        ArrayView<int> faults)
    {
        int row = Grid.IdxX, index = Checked(indices[row], fromRows, (int)IndexedOp.GatherRows, faults);
        for (int c = Group.IdxX; c < columns; c += Group.DimX)
        {
            output[row * stride + c] = index < 0 ? 0 : from[index * fromStride + c];
        }
    }

    /// <summary>A group for each row: one chain over its k rows of X, then the residual.</summary>
    [Kernel(256)]
    public static void Combine(
        ArrayView<float> x, long xStride, int xRows, ArrayView<int> indices, ArrayView<float> weights, int k, int columns,
        ArrayView<float> residual, long residualStride, ArrayView<float> delta, long deltaStride, ArrayView<float> output, long stride,
        ArrayView<int> faults)
    {
        long row = Grid.IdxX;
        for (int c = Group.IdxX; c < columns; c += Group.DimX)
        {
            float sum = 0;
            for (int j = 0; j < k; j++)
            {
                int index = Checked(indices[row * k + j], xRows, (int)IndexedOp.CombineRows, faults);
                if (index >= 0)
                {
                    sum = Ptx.Fma(weights[row * k + j], x[index * xStride + c], sum);
                }
            }

            if (delta.Length != 0)
            {
                delta[row * deltaStride + c] = sum;
            }

            output[row * stride + c] = residual.Length != 0 ? residual[row * residualStride + c] + sum : sum;
        }
    }

    /// <summary>The same where a negative index is a fault too.</summary>
    public static int Required(int index, int count, int op, ArrayView<int> faults)
    {
        if (index < 0)
        {
            faults[0] = op;
        }

        return Checked(index, count, op, faults);
    }

    /// <summary>The index, or −1 with a fault where it is past the end.</summary>
    public static int Checked(int index, int count, int op, ArrayView<int> faults)
    {
        if (index >= count)
        {
            faults[0] = op;
            return -1;
        }

        return index;
    }
}
