using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Reductions over the threads of a group in one fixed order: a butterfly within each warp, then the warps one after the other. Every
/// thread of the group must call, and gets the result.
/// </summary>
internal static class GroupTree
{
    /// <summary>Elements of scratch memory that a reduction needs: the most warps of a group.</summary>
    public const int Scratch = 32;

    /// <summary>The butterfly alone: the sum of a warp, whose threads must all call.</summary>
    public static float SumOfWarp(float value)
    {
        for (int offset = Warp.WarpSize / 2; offset > 0; offset /= 2)
        {
            value += Warp.ShuffleXor(value, offset);
        }

        return value;
    }

    public static float Sum(float value, ArrayView<float> scratch)
    {
        float sum = SumOnce(value, scratch);
        Group.Barrier();
        return sum;
    }

    /// <summary>With scratch memory that is not written again.</summary>
    public static float SumOnce(float value, ArrayView<float> scratch)
    {
        Publish(SumOfWarp(value), scratch);
        float sum = scratch[0];
        for (int warp = 1; warp < Group.DimX / Warp.WarpSize; warp++)
        {
            sum += scratch[warp];
        }

        return sum;
    }

    /// <summary>The largest value; NaN only where all are.</summary>
    public static float Max(float value, ArrayView<float> scratch)
    {
        for (int offset = Warp.WarpSize / 2; offset > 0; offset /= 2)
        {
            value = Elementary.Max(value, Warp.ShuffleXor(value, offset));
        }

        Publish(value, scratch);
        float max = scratch[0];
        for (int warp = 1; warp < Group.DimX / Warp.WarpSize; warp++)
        {
            max = Elementary.Max(max, scratch[warp]);
        }

        Group.Barrier();
        return max;
    }

    public static ulong Max(ulong value, ArrayView<ulong> scratch)
    {
        for (int offset = Warp.WarpSize / 2; offset > 0; offset /= 2)
        {
            value = IntrinsicMath.Max(value, Warp.ShuffleXor(value, offset));
        }

        if (Warp.LaneIdx == 0)
        {
            scratch[Group.IdxX / Warp.WarpSize] = value;
        }

        Group.Barrier();
        ulong max = scratch[0];
        for (int warp = 1; warp < Group.DimX / Warp.WarpSize; warp++)
        {
            max = IntrinsicMath.Max(max, scratch[warp]);
        }

        Group.Barrier();
        return max;
    }

    private static void Publish(float value, ArrayView<float> scratch)
    {
        if (Warp.LaneIdx == 0)
        {
            scratch[Group.IdxX / Warp.WarpSize] = value;
        }

        Group.Barrier();
    }
}
