using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Adam and what keeps rows at length 1, a group for each row.</summary>
internal static class OptimizerKernels
{
    [Kernel(256)]
    public static void Adam(
        ArrayView<float> p, long pStride, ArrayView<float> gradient, long gradientStride, ArrayView<float> m, long mStride,
        ArrayView<float> v, long vStride, int columns, float gradientScale, float stepSize, float beta1, float beta2,
        float inverseRootCorrection, float epsilon, float normalizeEpsilon)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        long row = Grid.IdxX;
        float squares = 0;
        for (int c = Group.IdxX; c < columns; c += Group.DimX)
        {
            float g = gradientScale * gradient[row * gradientStride + c];
            float mean = Ptx.Fma(1 - beta1, g, beta1 * m[row * mStride + c]);
            float square = Ptx.Fma((1 - beta2) * g, g, beta2 * v[row * vStride + c]);
            float divisor = Ptx.Fma(MathF.Sqrt(square), inverseRootCorrection, epsilon);
            float value = p[row * pStride + c] - stepSize * mean / divisor;
            m[row * mStride + c] = mean;
            v[row * vStride + c] = square;
            p[row * pStride + c] = value;
            squares = Ptx.Fma(value, value, squares);
        }

        if (normalizeEpsilon < 0)
        {
            return;
        }

        float length = MathF.Sqrt(GroupTree.Sum(squares, scratch)) + normalizeEpsilon;
        for (int c = Group.IdxX; length != 0 && c < columns; c += Group.DimX)
        {
            p[row * pStride + c] /= length;
        }
    }

    /// <summary>One group for each row and as many of its elements as there are threads, rows first.</summary>
    [Kernel(256)]
    public static void Sign(
        ArrayView<float> p, long pStride, ArrayView<float> gradient, long gradientStride, ArrayView<float> fast, long fastStride, int columns,
        int blocks, float rate, float momentum, float share)
    {
        long row = Grid.IdxX / blocks;
        int c = Grid.IdxX % blocks * Group.DimX + Group.IdxX;
        if (c < columns)
        {
            float y = p[row * pStride + c], z = fast[row * fastStride + c], g = gradient[row * gradientStride + c];
            float x = Ptx.Fma(1 - 1 / momentum, z - y, y);
            z -= g > 0 ? rate : g < 0 ? -rate : 0;
            x = Ptx.Fma(share, z - x, x);
            fast[row * fastStride + c] = z;
            p[row * pStride + c] = Ptx.Fma(1 - momentum, z - x, x);
        }
    }

    [Kernel(256)]
    public static void Project(
        ArrayView<float> p, long pStride, ArrayView<float> g, long gStride, int columns, int projects, float divideEpsilon,
        ArrayView<float> squares)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        long pRow = Grid.IdxX * pStride, gRow = Grid.IdxX * gStride;
        if (projects != 0)
        {
            float length = 1;
            if (divideEpsilon >= 0)
            {
                float own = 0;
                for (int c = Group.IdxX; c < columns; c += Group.DimX)
                {
                    own = Ptx.Fma(p[pRow + c], p[pRow + c], own);
                }

                length = MathF.Sqrt(GroupTree.Sum(own, scratch)) + divideEpsilon;
            }

            float along = 0;
            for (int c = Group.IdxX; c < columns; c += Group.DimX)
            {
                along = Ptx.Fma(g[gRow + c], p[pRow + c] / length, along);
            }

            along = GroupTree.Sum(along, scratch);
            for (int c = Group.IdxX; c < columns; c += Group.DimX)
            {
                g[gRow + c] = Ptx.Fma(-along, p[pRow + c] / length, g[gRow + c]);
            }
        }

        float sum = 0;
        for (int c = Group.IdxX; c < columns; c += Group.DimX)
        {
            sum = Ptx.Fma(g[gRow + c], g[gRow + c], sum);
        }

        sum = GroupTree.Sum(sum, scratch);
        if (Group.IdxX == 0)
        {
            squares[Grid.IdxX] = sum;
        }
    }
}
