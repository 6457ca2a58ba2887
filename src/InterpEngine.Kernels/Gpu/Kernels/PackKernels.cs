using ILGPU;
using Half = ILGPU.Half;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>How a checkpoint stores a number.</summary>
internal interface ISource<T> where T : unmanaged
{
    float Widen(T value);
}

internal readonly struct SingleSource : ISource<float>
{
    public float Widen(float value) => value;
}

internal readonly struct DoubleSource : ISource<double>
{
    public float Widen(double value) => (float)value;
}

internal readonly struct HalfSource : ISource<Half>
{
    public float Widen(Half value) => value;
}

internal readonly struct BF16Source : ISource<ushort>
{
    public float Widen(ushort value) => BF16Format.Widen(value);
}

/// <summary>
/// A rectangle of a checkpoint's matrix, on the device as it is stored, into a packed weight: element (k, n) is source
/// <c>k·innerStride + n·columnStride</c> and goes to <c>n·leading + k</c>. The nearer of the source's axes is the inner loop's.
/// </summary>
internal static class PackKernels
{
    /// <summary>A thread for each element.</summary>
    [Kernel(256, typeof(float), typeof(SingleSource))]
    [Kernel(256, typeof(double), typeof(DoubleSource))]
    [Kernel(256, typeof(Half), typeof(HalfSource))]
    [Kernel(256, typeof(ushort), typeof(BF16Source))]
    public static void ToSingles<T, TSource>(
        ArrayView<T> source, long innerStride, long columnStride, int inner, long count, ArrayView<float> weight, long leading)
        where T : unmanaged
        where TSource : struct, ISource<T>
    {
        TSource reader = default;
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            long n = i / inner, k = i % inner;
            weight[n * leading + k] = reader.Widen(source[k * innerStride + n * columnStride]);
        }
    }

    /// <summary>A thread for each element.</summary>
    [Kernel(256, typeof(float), typeof(SingleSource))]
    [Kernel(256, typeof(double), typeof(DoubleSource))]
    [Kernel(256, typeof(Half), typeof(HalfSource))]
    [Kernel(256, typeof(ushort), typeof(BF16Source))]
    public static void ToHalves<T, TSource>(
        ArrayView<T> source, long innerStride, long columnStride, int inner, long count, ArrayView<ushort> weight, long leading)
        where T : unmanaged
        where TSource : struct, ISource<T>
    {
        TSource reader = default;
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            long n = i / inner, k = i % inner;
            weight[n * leading + k] = (ushort)Elementary.RoundBF16(reader.Widen(source[k * innerStride + n * columnStride]));
        }
    }

    /// <summary>A thread for each group of 32 elements of a column.</summary>
    [Kernel(256, typeof(float), typeof(SingleSource))]
    [Kernel(256, typeof(double), typeof(DoubleSource))]
    [Kernel(256, typeof(Half), typeof(HalfSource))]
    [Kernel(256, typeof(ushort), typeof(BF16Source))]
    public static void ToIntegers<T, TSource>(
        ArrayView<T> source, long innerStride, long columnStride, int inner, long count, ArrayView<sbyte> weight, long leading,
        ArrayView<float> scales)
        where T : unmanaged
        where TSource : struct, ISource<T>
    {
        TSource reader = default;
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        int groups = (inner + Weight.GroupSize - 1) / Weight.GroupSize;
        if (i >= count)
        {
            return;
        }

        long n = i / groups, group = i % groups, from = n * columnStride;
        int start = (int)group * Weight.GroupSize, end = IntrinsicMath.Min(inner, start + Weight.GroupSize);
        float largest = 0;
        for (int k = start; k < end; k++)
        {
            largest = IntegerProductKernels.Larger(largest, reader.Widen(source[k * innerStride + from]));
        }

        float factor = IntegerProductKernels.Factor(largest);
        scales[n * (leading / Weight.GroupSize) + group] = IntegerProductKernels.GroupScale(largest);
        for (int k = start; k < end; k++)
        {
            float value = factor != 0 ? reader.Widen(source[k * innerStride + from]) * factor : 0;
            weight[n * leading + k] = (sbyte)(int)Elementary.Round(value);
        }
    }
}
