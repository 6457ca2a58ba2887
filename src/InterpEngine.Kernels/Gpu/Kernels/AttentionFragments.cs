using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>A warp's output for 16 rows: as many channels as registers hold.</summary>
internal interface IChannels<TSelf> where TSelf : struct
{
    /// <summary>Channels in chunks of eight.</summary>
    int Chunks { get; }

    /// <summary>Rows g of all lanes times one factor, rows g + 8 times another.</summary>
    TSelf Scale(float low, float high);

    /// <summary>Plus the weights of 16 keys times their values, which lie in shared memory from a chunk on.</summary>
    TSelf Mix(Bits4 weights, ArrayView<uint> values, int row, int swizzle, int chunk);

    /// <summary>Writes the channels before <paramref name="end"/>, the first of them being <paramref name="channel"/>.</summary>
    void Store(ArrayView<float> to, long low, long high, int channel, int end);
}

/// <summary>16 rows by 64: scores of 64 keys, or 64 channels of the output. A lane has two neighbours of rows g and g + 8 in each
/// eighth.</summary>
internal struct Block64 : IChannels<Block64>
{
    public Sum4 T0, T1, T2, T3, T4, T5, T6, T7;

    public readonly int Chunks => 8;

    public readonly Block64 Scale(float low, float high) => new()
    {
        T0 = Times(T0, low, high),
        T1 = Times(T1, low, high),
        T2 = Times(T2, low, high),
        T3 = Times(T3, low, high),
        T4 = Times(T4, low, high),
        T5 = Times(T5, low, high),
        T6 = Times(T6, low, high),
        T7 = Times(T7, low, high),
    };

    public readonly Block64 Mix(Bits4 weights, ArrayView<uint> values, int row, int swizzle, int chunk)
    {
        Bits4 first = Load(values, row, swizzle, chunk), second = Load(values, row, swizzle, chunk + 2);
        Bits4 third = Load(values, row, swizzle, chunk + 4), fourth = Load(values, row, swizzle, chunk + 6);
        return new Block64
        {
            T0 = Multiply(T0, weights, first.X, first.Y),
            T1 = Multiply(T1, weights, first.Z, first.W),
            T2 = Multiply(T2, weights, second.X, second.Y),
            T3 = Multiply(T3, weights, second.Z, second.W),
            T4 = Multiply(T4, weights, third.X, third.Y),
            T5 = Multiply(T5, weights, third.Z, third.W),
            T6 = Multiply(T6, weights, fourth.X, fourth.Y),
            T7 = Multiply(T7, weights, fourth.Z, fourth.W),
        };
    }

    public readonly void Store(ArrayView<float> to, long low, long high, int channel, int end)
    {
        Store(to, low, high, channel, end, T0);
        Store(to, low, high, channel + 8, end, T1);
        Store(to, low, high, channel + 16, end, T2);
        Store(to, low, high, channel + 24, end, T3);
        Store(to, low, high, channel + 32, end, T4);
        Store(to, low, high, channel + 40, end, T5);
        Store(to, low, high, channel + 48, end, T6);
        Store(to, low, high, channel + 56, end, T7);
    }

    /// <summary>Plus 32 channels of 16 queries times those of 64 keys, whose chunks lie in shared memory.</summary>
    public readonly Block64 Add(Bits4 low, Bits4 high, ArrayView<Bits4> keys, int at)
    {
        BF16Tensor format = default;
        return new Block64
        {
            T0 = format.Multiply(T0, low, high, keys[at]),
            T1 = format.Multiply(T1, low, high, keys[at + 32]),
            T2 = format.Multiply(T2, low, high, keys[at + 64]),
            T3 = format.Multiply(T3, low, high, keys[at + 96]),
            T4 = format.Multiply(T4, low, high, keys[at + 128]),
            T5 = format.Multiply(T5, low, high, keys[at + 160]),
            T6 = format.Multiply(T6, low, high, keys[at + 192]),
            T7 = format.Multiply(T7, low, high, keys[at + 224]),
        };
    }

    /// <summary>Dot products as scores; −∞ where a row does not see a key. The first key of the lane is
    /// <paramref name="key"/>.</summary>
    public readonly Block64 Scores(ScoreRow low, ScoreRow high, int key, float scale, float cap) => new()
    {
        T0 = Score(T0, low, high, key, scale, cap),
        T1 = Score(T1, low, high, key + 8, scale, cap),
        T2 = Score(T2, low, high, key + 16, scale, cap),
        T3 = Score(T3, low, high, key + 24, scale, cap),
        T4 = Score(T4, low, high, key + 32, scale, cap),
        T5 = Score(T5, low, high, key + 40, scale, cap),
        T6 = Score(T6, low, high, key + 48, scale, cap),
        T7 = Score(T7, low, high, key + 56, scale, cap),
    };

    /// <summary>2 to the power of a score times log₂e minus its row's maximum.</summary>
    public readonly Block64 Weights(float low, float high) => new()
    {
        T0 = Weight(T0, low, high),
        T1 = Weight(T1, low, high),
        T2 = Weight(T2, low, high),
        T3 = Weight(T3, low, high),
        T4 = Weight(T4, low, high),
        T5 = Weight(T5, low, high),
        T6 = Weight(T6, low, high),
        T7 = Weight(T7, low, high),
    };

    public readonly float MaxLow() => Elementary.Max(
        Elementary.Max(Max(T0.X, T0.Y, T1.X, T1.Y), Max(T2.X, T2.Y, T3.X, T3.Y)),
        Elementary.Max(Max(T4.X, T4.Y, T5.X, T5.Y), Max(T6.X, T6.Y, T7.X, T7.Y)));

    public readonly float MaxHigh() => Elementary.Max(
        Elementary.Max(Max(T0.Z, T0.W, T1.Z, T1.W), Max(T2.Z, T2.W, T3.Z, T3.W)),
        Elementary.Max(Max(T4.Z, T4.W, T5.Z, T5.W), Max(T6.Z, T6.W, T7.Z, T7.W)));

    public readonly float SumLow() =>
        T0.X + T0.Y + (T1.X + T1.Y) + (T2.X + T2.Y + (T3.X + T3.Y))
        + (T4.X + T4.Y + (T5.X + T5.Y) + (T6.X + T6.Y + (T7.X + T7.Y)));

    public readonly float SumHigh() =>
        T0.Z + T0.W + (T1.Z + T1.W) + (T2.Z + T2.W + (T3.Z + T3.W))
        + (T4.Z + T4.W + (T5.Z + T5.W) + (T6.Z + T6.W + (T7.Z + T7.W)));

    /// <summary>Two eighths of weights as the instruction's A: 16 keys.</summary>
    public static Bits4 Pack(Sum4 first, Sum4 second) => new()
    {
        X = Ptx.PackBf16(first.X, first.Y),
        Y = Ptx.PackBf16(first.Z, first.W),
        Z = Ptx.PackBf16(second.X, second.Y),
        W = Ptx.PackBf16(second.Z, second.W),
    };

    private static Sum4 Times(Sum4 sum, float low, float high) =>
        new() { X = sum.X * low, Y = sum.Y * low, Z = sum.Z * high, W = sum.W * high };

    private static Sum4 Multiply(Sum4 c, Bits4 a, uint b0, uint b1) => Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, a.X, a.Y, a.Z, a.W, b0,
        b1);

    private static Bits4 Load(ArrayView<uint> values, int row, int swizzle, int chunk) =>
        Ptx.LdMatrixX4Transposed(ref values[row + (chunk ^ swizzle) * 4]);

    private static void Store(ArrayView<float> to, long low, long high, int channel, int end, Sum4 sum)
    {
        if (channel < end)
        {
            Store(to, low + channel, sum.X);
            Store(to, high + channel, sum.Z);
        }

        if (channel + 1 < end)
        {
            Store(to, low + channel + 1, sum.Y);
            Store(to, high + channel + 1, sum.W);
        }

        static void Store(ArrayView<float> to, long at, float value)
        {
            if (at >= 0)
            {
                to[at] = value;
            }
        }
    }

    private static Sum4 Score(Sum4 dots, ScoreRow low, ScoreRow high, int key, float scale, float cap) => new()
    {
        X = low.Score(dots.X, key, scale, cap),
        Y = low.Score(dots.Y, key + 1, scale, cap),
        Z = high.Score(dots.Z, key, scale, cap),
        W = high.Score(dots.W, key + 1, scale, cap),
    };

    private static Sum4 Weight(Sum4 scores, float low, float high) => new()
    {
        X = ScoreRow.Weight(scores.X, low),
        Y = ScoreRow.Weight(scores.Y, low),
        Z = ScoreRow.Weight(scores.Z, high),
        W = ScoreRow.Weight(scores.W, high),
    };

    private static float Max(float a, float b, float c, float d) => Elementary.Max(Elementary.Max(a, b), Elementary.Max(c, d));
}

/// <summary>Twice as many channels.</summary>
internal struct Pair<T> : IChannels<Pair<T>> where T : struct, IChannels<T>
{
    private T _first, _second;

    public readonly int Chunks => 2 * _first.Chunks;

    public readonly Pair<T> Scale(float low, float high) => new()
    {
        _first = _first.Scale(low, high),
        _second = _second.Scale(low, high),
    };

    public readonly Pair<T> Mix(Bits4 weights, ArrayView<uint> values, int row, int swizzle, int chunk) => new()
    {
        _first = _first.Mix(weights, values, row, swizzle, chunk),
        _second = _second.Mix(weights, values, row, swizzle, chunk + _first.Chunks),
    };

    public readonly void Store(ArrayView<float> to, long low, long high, int channel, int end)
    {
        _first.Store(to, low, high, channel, end);
        _second.Store(to, low, high, channel + 8 * _first.Chunks, end);
    }
}

/// <summary>A row of the scores: one query of one head.</summary>
internal struct ScoreRow
{
    /// <summary>Keys that it sees: First … End − 1.</summary>
    public int First, End;

    /// <summary>The sequence's first key, from which the slope counts.</summary>
    public int Begin;

    public float Slope;

    public readonly float Score(float dot, int key, float scale, float cap)
    {
        float score = dot * scale;
        if (cap > 0)
        {
            score = cap * Elementary.Tanh(score / cap);
        }

        score = Ptx.Fma(Slope, key - Begin, score);
        return key >= First && key < End ? score : float.NegativeInfinity;
    }

    /// <summary>e^(score − max), max being finite and in units of log 2.</summary>
    public static float Weight(float score, float max) => Ptx.Exp2(Ptx.Fma(score, Log2E, -max));

    public const float Log2E = 1.44269504088896341f;
}
