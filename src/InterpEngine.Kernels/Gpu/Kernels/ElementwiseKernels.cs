using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>A function of elements x, their neighbours y and two parameters; y is 0 where the second matrix is not given.</summary>
internal interface IElementFunction
{
    Four At(Four x, Four y, float p, float q);
}

/// <summary>Ops that make each element from its neighbours at the same place.</summary>
internal static class ElementwiseKernels
{
    /// <summary>Columns of one row that a thread makes.</summary>
    public const int Block = 4;

    /// <summary>One group for each row and as many columns as its threads make, rows first. The result is fp32 or BF16.</summary>
    [Kernel(256, typeof(Sum), typeof(AtOnce))]
    [Kernel(256, typeof(Sum), typeof(OneByOne))]
    [Kernel(256, typeof(Difference), typeof(AtOnce))]
    [Kernel(256, typeof(Difference), typeof(OneByOne))]
    [Kernel(256, typeof(Product), typeof(AtOnce))]
    [Kernel(256, typeof(Product), typeof(OneByOne))]
    [Kernel(256, typeof(SoftCap), typeof(AtOnce))]
    [Kernel(256, typeof(SoftCap), typeof(OneByOne))]
    [Kernel(256, typeof(Clamp), typeof(AtOnce))]
    [Kernel(256, typeof(Clamp), typeof(OneByOne))]
    [Kernel(256, typeof(First), typeof(AtOnce))]
    [Kernel(256, typeof(First), typeof(OneByOne))]
    [Kernel(256, typeof(Constant), typeof(AtOnce))]
    [Kernel(256, typeof(Constant), typeof(OneByOne))]
    [Kernel(256, typeof(Activated), typeof(AtOnce))]
    [Kernel(256, typeof(Activated), typeof(OneByOne))]
    [Kernel(256, typeof(ActivatedTimes), typeof(AtOnce))]
    [Kernel(256, typeof(ActivatedTimes), typeof(OneByOne))]
    [Kernel(256, typeof(ClampedSwiglu), typeof(AtOnce))]
    [Kernel(256, typeof(ClampedSwiglu), typeof(OneByOne))]
    public static void Map<TFunction, TAccess>(
        ArrayView<float> x, long xStride, ArrayView<float> y, long yStride, ArrayView<float> output, ArrayView<ushort> narrow,
        long stride, long columns, int blocks, float p, float q)
        where TFunction : struct, IElementFunction
        where TAccess : struct, IAccess
    {
        TFunction function = default;
        TAccess access = default;
        long row = Grid.IdxX / blocks, column = ((long)(Grid.IdxX % blocks) * Group.DimX + Group.IdxX) * Block;
        int count = (int)IntrinsicMath.Min(columns - column, Block);
        if (count <= 0)
        {
            return;
        }

        Four a = default, b = default;
        if (x.Length != 0)
        {
            a = access.Load(x, row * xStride + column, count);
        }

        if (y.Length != 0)
        {
            b = access.Load(y, row * yStride + column, count);
        }

        Four result = function.At(a, b, p, q);
        if (narrow.Length != 0)
        {
            access.Store(narrow, row * stride + column, result, count);
        }
        else
        {
            access.Store(output, row * stride + column, result, count);
        }
    }

    /// <summary>One group for each token and as many elements of its key and value as there are threads, tokens first.</summary>
    [Kernel(256)]
    public static void Append(
        ArrayView<float> keys, ArrayView<float> values, ArrayView<float> keyCache, ArrayView<float> valueCache, ArrayView<int> at, int tokens,
        int capacity, int keyWidth, int valueWidth, int blocks, ArrayView<int> faults)
    {
        int token = Grid.IdxX / blocks, c = Grid.IdxX % blocks * Group.DimX + Group.IdxX, place = at[0] + token % tokens;
        long to = (long)(token / tokens) * capacity + place;
        if (place < 0 || place >= capacity)
        {
            faults[0] = (int)IndexedOp.Append;
        }
        else if (c < keyWidth)
        {
            keyCache[to * keyWidth + c] = keys[(long)token * keyWidth + c];
        }
        else if (c < keyWidth + valueWidth)
        {
            valueCache[to * valueWidth + c - keyWidth] = values[(long)token * valueWidth + c - keyWidth];
        }
    }

    /// <summary>BF16 as it is.</summary>
    [Kernel(256)]
    public static void CopyNarrow(ArrayView<ushort> x, long xStride, ArrayView<ushort> output, long stride, int columns, int blocks)
    {
        long row = Grid.IdxX / blocks;
        int column = Grid.IdxX % blocks * Group.DimX + Group.IdxX;
        if (column < columns)
        {
            output[row * stride + column] = x[row * xStride + column];
        }
    }

    /// <summary>BF16 as fp32.</summary>
    [Kernel(256)]
    public static void Widen(ArrayView<ushort> x, long xStride, ArrayView<float> output, long stride, int columns, int blocks)
    {
        long row = Grid.IdxX / blocks;
        int column = Grid.IdxX % blocks * Group.DimX + Group.IdxX;
        if (column < columns)
        {
            output[row * stride + column] = BF16Format.Widen(x[row * xStride + column]);
        }
    }

    /// <summary>One group for each token, head and block of columns, tokens first.</summary>
    [Kernel(256)]
    public static void RepeatHeads(ArrayView<float> x, long stride, ArrayView<float> output, int heads, int columns, int blocks)
    {
        int row = Grid.IdxX / blocks, c = Grid.IdxX % blocks * Group.DimX + Group.IdxX;
        if (c < columns)
        {
            output[(long)row * columns + c] = x[row / heads * stride + c];
        }
    }

    /// <summary>One group for each token and block of columns, tokens first.</summary>
    [Kernel(256)]
    public static void SumHeads(
        ArrayView<float> x, ArrayView<float> bias, ArrayView<float> output, long stride, int heads, int columns, int blocks)
    {
        int token = Grid.IdxX / blocks, c = Grid.IdxX % blocks * Group.DimX + Group.IdxX;
        if (c < columns)
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
        public Four At(Four x, Four y, float p, float q) => Four.Sum(x, y);
    }

    public readonly struct Difference : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => Four.Difference(x, y);
    }

    public readonly struct Product : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => x.Times(p);
    }

    public readonly struct SoftCap : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => new()
        {
            A = p * Elementary.Tanh(x.A / p),
            B = p * Elementary.Tanh(x.B / p),
            C = p * Elementary.Tanh(x.C / p),
            D = p * Elementary.Tanh(x.D / p),
        };
    }

    public readonly struct Clamp : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => new()
        {
            A = Between(x.A, -p, p),
            B = Between(x.B, -p, p),
            C = Between(x.C, -p, p),
            D = Between(x.D, -p, p),
        };
    }

    public readonly struct First : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => x;
    }

    public readonly struct Constant : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => new() { A = p, B = p, C = p, D = p };
    }

    /// <summary>p is the activation's number.</summary>
    public readonly struct Activated : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => Elementary.Activate((int)p, x);
    }

    public readonly struct ActivatedTimes : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => Four.Product(Elementary.Activate((int)p, x), y);
    }

    /// <summary>x is the gate, p the limit and q alpha.</summary>
    public readonly struct ClampedSwiglu : IElementFunction
    {
        public Four At(Four x, Four y, float p, float q) => new()
        {
            A = One(x.A, y.A, p, q),
            B = One(x.B, y.B, p, q),
            C = One(x.C, y.C, p, q),
            D = One(x.D, y.D, p, q),
        };

        private static float One(float x, float y, float p, float q)
        {
            float gate = x > p ? p : x;
            return gate * Elementary.Sigmoid(q * gate) * (Between(y, -p, p) + 1);
        }
    }

    /// <summary>NaN stays.</summary>
    private static float Between(float x, float low, float high) => x < low ? low : x > high ? high : x;
}
