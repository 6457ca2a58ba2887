using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The product by the transpose: an element is summed over n in 16 lanes, lane n mod 16, then the tree.</summary>
internal static class TransposedKernels
{
    /// <summary>A thread for each element (r, k), neighbours along k; the groups of a row come first.</summary>
    [Kernel(128, typeof(float), typeof(F32Format))]
    [Kernel(128, typeof(ushort), typeof(BF16Format))]
    public static void Multiply<T, TFormat>(
        ArrayView<float> x, long xStride, ArrayView<T> w, long leading, int inner, int columns, int groupsAcross,
        ArrayView<float> output, long stride)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        int row = Grid.IdxX / groupsAcross, k = Grid.IdxX % groupsAcross * Group.DimX + Group.IdxX;
        if (k >= inner)
        {
            return;
        }

        long left = row * xStride;
        Four s0 = default, s1 = default, s2 = default, s3 = default;
        int whole = columns / 16 * 16;
        for (int n = 0; n < whole; n += 16)
        {
            s0 = Add<T, TFormat>(x, left, w, leading, k, n, s0);
            s1 = Add<T, TFormat>(x, left, w, leading, k, n + 4, s1);
            s2 = Add<T, TFormat>(x, left, w, leading, k, n + 8, s2);
            s3 = Add<T, TFormat>(x, left, w, leading, k, n + 12, s3);
        }

        s0 = Add<T, TFormat>(x, left, w, leading, k, whole, columns, s0);
        s1 = Add<T, TFormat>(x, left, w, leading, k, whole + 4, columns, s1);
        s2 = Add<T, TFormat>(x, left, w, leading, k, whole + 8, columns, s2);
        s3 = Add<T, TFormat>(x, left, w, leading, k, whole + 12, columns, s3);

        output[row * stride + k] = Tree(s0, s1, s2, s3);
    }

    /// <summary>The same with integers times the scales of their groups.</summary>
    [Kernel(128)]
    public static void MultiplyIntegers(
        ArrayView<float> x, long xStride, ArrayView<sbyte> w, ArrayView<float> scales, long leading, int inner, int columns,
        int groupsAcross, ArrayView<float> output, long stride)
    {
        int row = Grid.IdxX / groupsAcross, k = Grid.IdxX % groupsAcross * Group.DimX + Group.IdxX;
        if (k >= inner)
        {
            return;
        }

        long left = row * xStride;
        Four s0 = default, s1 = default, s2 = default, s3 = default;
        int whole = columns / 16 * 16;
        for (int n = 0; n < whole; n += 16)
        {
            s0 = AddIntegers(x, left, w, scales, leading, k, n, s0);
            s1 = AddIntegers(x, left, w, scales, leading, k, n + 4, s1);
            s2 = AddIntegers(x, left, w, scales, leading, k, n + 8, s2);
            s3 = AddIntegers(x, left, w, scales, leading, k, n + 12, s3);
        }

        s0 = AddIntegers(x, left, w, scales, leading, k, whole, columns, s0);
        s1 = AddIntegers(x, left, w, scales, leading, k, whole + 4, columns, s1);
        s2 = AddIntegers(x, left, w, scales, leading, k, whole + 8, columns, s2);
        s3 = AddIntegers(x, left, w, scales, leading, k, whole + 12, columns, s3);

        output[row * stride + k] = Tree(s0, s1, s2, s3);
    }

    /// <summary>Adds the products of n … n + 3.</summary>
    private static Four Add<T, TFormat>(ArrayView<float> x, long left, ArrayView<T> w, long leading, int k, int n, Four sum)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        long at = n * leading + k;
        sum.A = Ptx.Fma(x[left + n], format.Read(w, at), sum.A);
        sum.B = Ptx.Fma(x[left + n + 1], format.Read(w, at + leading), sum.B);
        sum.C = Ptx.Fma(x[left + n + 2], format.Read(w, at + 2 * leading), sum.C);
        sum.D = Ptx.Fma(x[left + n + 3], format.Read(w, at + 3 * leading), sum.D);
        return sum;
    }

    /// <summary>The same for those that are there.</summary>
    private static Four Add<T, TFormat>(ArrayView<float> x, long left, ArrayView<T> w, long leading, int k, int n, int columns, Four sum)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        long at = n * leading + k;
        sum.A = n < columns ? Ptx.Fma(x[left + n], format.Read(w, at), sum.A) : sum.A;
        sum.B = n + 1 < columns ? Ptx.Fma(x[left + n + 1], format.Read(w, at + leading), sum.B) : sum.B;
        sum.C = n + 2 < columns ? Ptx.Fma(x[left + n + 2], format.Read(w, at + 2 * leading), sum.C) : sum.C;
        sum.D = n + 3 < columns ? Ptx.Fma(x[left + n + 3], format.Read(w, at + 3 * leading), sum.D) : sum.D;
        return sum;
    }

    private static Four AddIntegers(
        ArrayView<float> x, long left, ArrayView<sbyte> w, ArrayView<float> scales, long leading, int k, int n, Four sum)
    {
        long at = n * leading + k;
        sum.A = Ptx.Fma(x[left + n], Value(w, scales, at), sum.A);
        sum.B = Ptx.Fma(x[left + n + 1], Value(w, scales, at + leading), sum.B);
        sum.C = Ptx.Fma(x[left + n + 2], Value(w, scales, at + 2 * leading), sum.C);
        sum.D = Ptx.Fma(x[left + n + 3], Value(w, scales, at + 3 * leading), sum.D);
        return sum;
    }

    private static Four AddIntegers(
        ArrayView<float> x, long left, ArrayView<sbyte> w, ArrayView<float> scales, long leading, int k, int n, int columns, Four sum)
    {
        long at = n * leading + k;
        sum.A = n < columns ? Ptx.Fma(x[left + n], Value(w, scales, at), sum.A) : sum.A;
        sum.B = n + 1 < columns ? Ptx.Fma(x[left + n + 1], Value(w, scales, at + leading), sum.B) : sum.B;
        sum.C = n + 2 < columns ? Ptx.Fma(x[left + n + 2], Value(w, scales, at + 2 * leading), sum.C) : sum.C;
        sum.D = n + 3 < columns ? Ptx.Fma(x[left + n + 3], Value(w, scales, at + 3 * leading), sum.D) : sum.D;
        return sum;
    }

    private static float Value(ArrayView<sbyte> w, ArrayView<float> scales, long at) => w[at] * scales[at / Weight.GroupSize];

    private static float Tree(Four a, Four b, Four c, Four d)
    {
        Four eight = Four.Sum(a, c), more = Four.Sum(b, d), four = Four.Sum(eight, more);
        return four.A + four.C + (four.B + four.D);
    }
}
