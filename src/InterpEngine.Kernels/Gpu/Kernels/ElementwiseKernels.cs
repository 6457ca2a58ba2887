using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>A function of an element x, its neighbour y and two parameters; y is 0 where the second matrix is not given.</summary>
internal interface IElementFunction
{
    float At(float x, float y, float p, float q);
}

/// <summary>Ops that make each element from its neighbours at the same place.</summary>
internal static class ElementwiseKernels
{
    /// <summary>Columns that a group makes, of one row.</summary>
    public const int Block = 1024;

    /// <summary>One group for each row and block of columns, rows first.</summary>
    [Kernel(256, typeof(Sum))]
    [Kernel(256, typeof(Product))]
    [Kernel(256, typeof(SoftCap))]
    [Kernel(256, typeof(Clamp))]
    [Kernel(256, typeof(First))]
    [Kernel(256, typeof(Constant))]
    [Kernel(256, typeof(Activated))]
    [Kernel(256, typeof(ActivatedTimes))]
    [Kernel(256, typeof(ClampedSwiglu))]
    public static void Map<TFunction>(
        ArrayView<float> x, long xStride, ArrayView<float> y, long yStride, ArrayView<float> output, long stride,
        long columns, int blocks, float p, float q)
        where TFunction : struct, IElementFunction
    {
        TFunction function = default;
        long row = Grid.IdxX / blocks, start = (long)(Grid.IdxX % blocks) * Block;
        long xRow = row * xStride, yRow = row * yStride, outRow = row * stride;
        bool hasX = x.Length != 0, hasY = y.Length != 0;
        int threads = Group.DimX;
        long end = start + Block < columns ? start + Block : columns;

        // Four loads are under way before the first is waited for.
        long c = start + Group.IdxX;
        for (; c + 3 * threads < end; c += 4 * threads)
        {
            long c1 = c + threads, c2 = c1 + threads, c3 = c2 + threads;
            float x0 = 0, x1 = 0, x2 = 0, x3 = 0, y0 = 0, y1 = 0, y2 = 0, y3 = 0;
            if (hasX)
            {
                x0 = x[xRow + c];
                x1 = x[xRow + c1];
                x2 = x[xRow + c2];
                x3 = x[xRow + c3];
            }

            if (hasY)
            {
                y0 = y[yRow + c];
                y1 = y[yRow + c1];
                y2 = y[yRow + c2];
                y3 = y[yRow + c3];
            }

            output[outRow + c] = function.At(x0, y0, p, q);
            output[outRow + c1] = function.At(x1, y1, p, q);
            output[outRow + c2] = function.At(x2, y2, p, q);
            output[outRow + c3] = function.At(x3, y3, p, q);
        }

        for (; c < end; c += threads)
        {
            output[outRow + c] = function.At(hasX ? x[xRow + c] : 0, hasY ? y[yRow + c] : 0, p, q);
        }
    }

    /// <summary>One group for each token, head and block of columns, tokens first.</summary>
    [Kernel(256)]
    public static void RepeatHeads(ArrayView<float> x, long stride, ArrayView<float> output, int heads, int columns, int blocks)
    {
        int row = Grid.IdxX / blocks, start = Grid.IdxX % blocks * Block;
        long from = row / heads * stride, to = (long)row * columns;
        int end = IntrinsicMath.Min(start + Block, columns);
        for (int c = start + Group.IdxX; c < end; c += Group.DimX)
        {
            output[to + c] = x[from + c];
        }
    }

    /// <summary>One group for each token and block of columns, tokens first.</summary>
    [Kernel(256)]
    public static void SumHeads(
        ArrayView<float> x, ArrayView<float> bias, ArrayView<float> output, long stride, int heads, int columns, int blocks)
    {
        int token = Grid.IdxX / blocks, start = Grid.IdxX % blocks * Block;
        int end = IntrinsicMath.Min(start + Block, columns);
        for (int c = start + Group.IdxX; c < end; c += Group.DimX)
        {
            float sum = 0;
            for (int head = 0; head < heads; head++)
            {
                sum += x[((long)token * heads + head) * columns + c];
            }

            output[token * stride + c] = bias.Length != 0 ? sum + bias[c] : sum;
        }
    }

    public readonly struct Sum : IElementFunction
    {
        public float At(float x, float y, float p, float q) => x + y;
    }

    public readonly struct Product : IElementFunction
    {
        public float At(float x, float y, float p, float q) => x * p;
    }

    public readonly struct SoftCap : IElementFunction
    {
        public float At(float x, float y, float p, float q) => p * Elementary.Tanh(x / p);
    }

    public readonly struct Clamp : IElementFunction
    {
        public float At(float x, float y, float p, float q) => x < -p ? -p : x > p ? p : x;
    }

    public readonly struct First : IElementFunction
    {
        public float At(float x, float y, float p, float q) => x;
    }

    public readonly struct Constant : IElementFunction
    {
        public float At(float x, float y, float p, float q) => p;
    }

    /// <summary>p is the activation's number.</summary>
    public readonly struct Activated : IElementFunction
    {
        public float At(float x, float y, float p, float q) => Elementary.Activate((int)p, x);
    }

    public readonly struct ActivatedTimes : IElementFunction
    {
        public float At(float x, float y, float p, float q) => Elementary.Activate((int)p, x) * y;
    }

    /// <summary>x is the gate, p the limit and q alpha.</summary>
    public readonly struct ClampedSwiglu : IElementFunction
    {
        public float At(float x, float y, float p, float q)
        {
            float gate = x > p ? p : x, up = y < -p ? -p : y > p ? p : y;
            return gate * Elementary.Sigmoid(q * gate) * (up + 1);
        }
    }
}
