using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products with I8 weights: X is rounded to integers group by group, a group's sum is an exact integer, and one chain
/// acc = fma(sum, scale of X · scale of W, acc) leads along the groups.
/// </summary>
internal static class IntegerProductKernels
{
    /// <summary>Rows that a thread makes.</summary>
    public const int Rows = 4;

    private const int GroupSize = Weight.GroupSize;

    /// <summary>Rounds rows of X to the weight's groups, the first of which begins <paramref name="before"/> elements before X; a thread
    /// for each row and group.</summary>
    [Kernel(128)]
    public static void Quantize(
        ArrayView<float> x, long stride, int rows, int inner, int before, int groups, ArrayView<sbyte> integers, ArrayView<float> scales)
    {
        long task = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (task >= (long)rows * groups)
        {
            return;
        }

        long row = task / groups * stride;
        int first = (int)(task % groups) * GroupSize - before;
        int start = IntrinsicMath.Max(0, first), end = IntrinsicMath.Min(inner, first + GroupSize);
        float largest = 0;
        for (int k = start; k < end; k++)
        {
            largest = Larger(largest, x[row + k]);
        }

        float factor = Factor(largest);
        scales[task] = GroupScale(largest);
        for (int k = first; k < first + GroupSize; k++)
        {
            float value = k >= start && k < end && factor != 0 ? x[row + k] * factor : 0;
            integers[task * GroupSize + (k - first)] = (sbyte)(int)Elementary.Round(value);
        }
    }

    /// <summary>
    /// A thread for each column and four rows, columns of a group of threads being neighbours; both sides are read four integers at a
    /// time.
    /// </summary>
    [Kernel(128)]
    public static void Multiply(
        ArrayView<int> x, ArrayView<float> xScales, ArrayView<int> w, ArrayView<float> wScales, int rows, int columns, int groups,
        int weightGroups, int groupsAcross, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride,
        ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, long outputStride)
    {
        int firstRow = Grid.IdxX / groupsAcross * Rows;
        Make(
            x, xScales, w, wScales, firstRow, IntrinsicMath.Min(rows, firstRow + Rows), Grid.IdxX % groupsAcross, columns, groups, weightGroups,
            bias, activation, multiply, multiplyStride, residual, residualStride, pre, preStride, delta, deltaStride, output, outputStride);
    }

    /// <summary>The same for one row, with the weight that it chose; a weight lies where the table says.</summary>
    [Kernel(128)]
    public static void Chosen(
        ArrayView<int> x, ArrayView<float> xScales, ArrayView<int> choice, ArrayView<long> addresses, int weights, ArrayView<int> memory,
        ArrayView<float> floats, int columns, int groups, int weightGroups, int groupsAcross, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> output, long outputStride, ArrayView<int> faults)
    {
        int row = Grid.IdxX / groupsAcross, weight = WeightAddress.Chosen(choice, row, weights, faults);
        long elements = addresses[weight * WeightAddress.Length + WeightAddress.Elements] / sizeof(int);
        long scales = addresses[weight * WeightAddress.Length + WeightAddress.Scales] / sizeof(float), last = (long)columns * weightGroups;
        Make(
            x, xScales, memory.SubView(elements, last * (GroupSize / 4)), floats.SubView(scales, last), row, row + 1, Grid.IdxX % groupsAcross,
            columns, groups, weightGroups, WeightAddress.BiasOf(addresses, weight, floats, columns), activation, multiply, multiplyStride,
            default, 0, default, 0, default, 0, output, outputStride);
    }

    private static void Make(
        ArrayView<int> x, ArrayView<float> xScales, ArrayView<int> w, ArrayView<float> wScales, int firstRow, int rows, int across, int columns,
        int groups, int weightGroups, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride,
        ArrayView<float> residual, long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, long outputStride)
    {
        int column = across * Group.DimX + Group.IdxX;
        if (column >= columns)
        {
            return;
        }

        const int words = GroupSize / 4;
        for (int row = firstRow; row < rows; row++)
        {
            float sum = 0;
            for (int group = 0; group < groups; group++)
            {
                long left = ((long)row * groups + group) * words, right = ((long)column * weightGroups + group) * words;
                int integer = 0;
                for (int i = 0; i < words; i++)
                {
                    integer = Ptx.Dot4(x[left + i], w[right + i], integer);
                }

                float scale = xScales[(long)row * groups + group] * wScales[(long)column * weightGroups + group];
                sum = Ptx.Fma(integer, scale, sum);
            }

            Epilogue.Store(
                sum, row, column, bias, activation, multiply, multiplyStride, residual, residualStride, pre, preStride, delta, deltaStride,
                output, default, outputStride);
        }
    }

    /// <summary>The larger magnitude; a NaN stays.</summary>
    public static float Larger(float largest, float x)
    {
        float magnitude = Elementary.Abs(x);
        return magnitude > largest || Elementary.IsNaN(magnitude) ? magnitude : largest;
    }

    /// <summary>What elements of a group are multiplied with before they are rounded; 0 where all become 0.</summary>
    public static float Factor(float largest) => largest >= 7.888609052210118e-31f && largest <= float.MaxValue ? 127 / largest : 0;

    /// <summary>What integers of a group are multiplied with: 0 below 2⁻¹⁰⁰, NaN where an element is not finite.</summary>
    public static float GroupScale(float largest) =>
        !(largest <= float.MaxValue) ? float.NaN : largest < 7.888609052210118e-31f ? 0 : largest / 127;
}
