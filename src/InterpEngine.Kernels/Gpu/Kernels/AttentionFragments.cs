using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The same of a warp's first 16 rows and of its last: what is loaded from shared memory serves both.</summary>
internal struct Both<T> where T : struct
{
    public T First, Last;
}

/// <summary>A warp's output for 16 rows: as many channels as registers hold.</summary>
internal interface IChannels<TSelf> where TSelf : struct
{
    /// <summary>Channels in chunks of eight.</summary>
    int Chunks { get; }

    /// <summary>Rows g of all lanes times one factor, rows g + 8 times another.</summary>
    TSelf Scale(float low, float high);

    /// <summary>Outputs plus the weights of 16 keys times their values, which lie in shared memory from a chunk on.</summary>
    Both<TSelf> Mix(Both<TSelf> outputs, bool twice, Bits4 first, Bits4 last, ArrayView<uint> values, int row, int swizzle, int chunk);

    /// <summary>Adds them to what a lane keeps in memory of the pieces before, if there are <paramref name="any"/>: see
    /// <see cref="AttentionPieces"/>.</summary>
    void Keep(Meeting low, Meeting high, ArrayView<Sum4> totals, long at, bool any);

    /// <summary>What was kept.</summary>
    TSelf Kept(ArrayView<Sum4> totals, long at);

    /// <summary>Writes the channels before <paramref name="end"/>, the first of them being <paramref name="channel"/>.</summary>
    void Store(ArrayView<float> to, ArrayView<ushort> narrow, long low, long high, int channel, int end);
}

/// <summary>16 rows by 64: scores of 64 keys, or 64 channels of the output. A lane has two neighbours of rows g and g + 8 in each
/// eighth.</summary>
internal struct Block64 : IChannels<Block64>
{
    private const int Threads = TensorAttentionKernels.Threads;

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

    public readonly Both<Block64> Mix(
        Both<Block64> outputs, bool twice, Bits4 first, Bits4 last, ArrayView<uint> values, int row, int swizzle, int chunk)
    {
        Block64 a = outputs.First, b = outputs.Last;
        Bits4 v = Load(values, row, swizzle, chunk);
        a.T0 = Multiply(a.T0, first, v.X, v.Y);
        a.T1 = Multiply(a.T1, first, v.Z, v.W);
        if (twice)
        {
            b.T0 = Multiply(b.T0, last, v.X, v.Y);
            b.T1 = Multiply(b.T1, last, v.Z, v.W);
        }

        v = Load(values, row, swizzle, chunk + 2);
        a.T2 = Multiply(a.T2, first, v.X, v.Y);
        a.T3 = Multiply(a.T3, first, v.Z, v.W);
        if (twice)
        {
            b.T2 = Multiply(b.T2, last, v.X, v.Y);
            b.T3 = Multiply(b.T3, last, v.Z, v.W);
        }

        v = Load(values, row, swizzle, chunk + 4);
        a.T4 = Multiply(a.T4, first, v.X, v.Y);
        a.T5 = Multiply(a.T5, first, v.Z, v.W);
        if (twice)
        {
            b.T4 = Multiply(b.T4, last, v.X, v.Y);
            b.T5 = Multiply(b.T5, last, v.Z, v.W);
        }

        v = Load(values, row, swizzle, chunk + 6);
        a.T6 = Multiply(a.T6, first, v.X, v.Y);
        a.T7 = Multiply(a.T7, first, v.Z, v.W);
        if (twice)
        {
            b.T6 = Multiply(b.T6, last, v.X, v.Y);
            b.T7 = Multiply(b.T7, last, v.Z, v.W);
        }

        return new Both<Block64> { First = a, Last = b };
    }

    public readonly Block64 Kept(ArrayView<Sum4> totals, long at) => new()
    {
        T0 = totals[at],
        T1 = totals[at + Threads],
        T2 = totals[at + 2 * Threads],
        T3 = totals[at + 3 * Threads],
        T4 = totals[at + 4 * Threads],
        T5 = totals[at + 5 * Threads],
        T6 = totals[at + 6 * Threads],
        T7 = totals[at + 7 * Threads],
    };

    public readonly void Keep(Meeting low, Meeting high, ArrayView<Sum4> totals, long at, bool any)
    {
        Keep(low, high, totals, at, any, T0);
        Keep(low, high, totals, at + Threads, any, T1);
        Keep(low, high, totals, at + 2 * Threads, any, T2);
        Keep(low, high, totals, at + 3 * Threads, any, T3);
        Keep(low, high, totals, at + 4 * Threads, any, T4);
        Keep(low, high, totals, at + 5 * Threads, any, T5);
        Keep(low, high, totals, at + 6 * Threads, any, T6);
        Keep(low, high, totals, at + 7 * Threads, any, T7);
    }

    public readonly void Store(ArrayView<float> to, ArrayView<ushort> narrow, long low, long high, int channel, int end)
    {
        Store(to, narrow, low, high, channel, end, T0);
        Store(to, narrow, low, high, channel + 8, end, T1);
        Store(to, narrow, low, high, channel + 16, end, T2);
        Store(to, narrow, low, high, channel + 24, end, T3);
        Store(to, narrow, low, high, channel + 32, end, T4);
        Store(to, narrow, low, high, channel + 40, end, T5);
        Store(to, narrow, low, high, channel + 48, end, T6);
        Store(to, narrow, low, high, channel + 56, end, T7);
    }

    /// <summary>Dot products plus those over 32 channels more, with 64 keys whose chunks lie in shared memory.</summary>
    /// <param name="dots">Dot products until now.</param>
    /// <param name="twice">Whether there are the last 16.</param>
    /// <param name="first">The first 16 queries as the two instructions' A.</param>
    /// <param name="last">The last 16.</param>
    /// <param name="keys">Shared memory.</param>
    /// <param name="at">The lane's chunk of the first eight keys.</param>
    public static Both<Block64> Dots(
        Both<Block64> dots, bool twice, Both<Bits4> first, Both<Bits4> last, ArrayView<Bits4> keys, int at)
    {
        Block64 a = dots.First, b = dots.Last;
        Bits4 key = keys[at];
        a.T0 = Multiply(a.T0, first, key);
        b.T0 = twice ? Multiply(b.T0, last, key) : default;
        key = keys[at + 32];
        a.T1 = Multiply(a.T1, first, key);
        b.T1 = twice ? Multiply(b.T1, last, key) : default;
        key = keys[at + 64];
        a.T2 = Multiply(a.T2, first, key);
        b.T2 = twice ? Multiply(b.T2, last, key) : default;
        key = keys[at + 96];
        a.T3 = Multiply(a.T3, first, key);
        b.T3 = twice ? Multiply(b.T3, last, key) : default;
        key = keys[at + 128];
        a.T4 = Multiply(a.T4, first, key);
        b.T4 = twice ? Multiply(b.T4, last, key) : default;
        key = keys[at + 160];
        a.T5 = Multiply(a.T5, first, key);
        b.T5 = twice ? Multiply(b.T5, last, key) : default;
        key = keys[at + 192];
        a.T6 = Multiply(a.T6, first, key);
        b.T6 = twice ? Multiply(b.T6, last, key) : default;
        key = keys[at + 224];
        a.T7 = Multiply(a.T7, first, key);
        b.T7 = twice ? Multiply(b.T7, last, key) : default;
        return new Both<Block64> { First = a, Last = b };
    }

    /// <summary>Dot products as a rule's scores. The lane's first key is <paramref name="key"/>.</summary>
    public readonly Block64 Scores<TScore>(ScoreRow low, ScoreRow high, int key, Bend bend) where TScore : struct, IScore => new()
    {
        T0 = Score<TScore>(T0, low, high, key, bend),
        T1 = Score<TScore>(T1, low, high, key + 8, bend),
        T2 = Score<TScore>(T2, low, high, key + 16, bend),
        T3 = Score<TScore>(T3, low, high, key + 24, bend),
        T4 = Score<TScore>(T4, low, high, key + 32, bend),
        T5 = Score<TScore>(T5, low, high, key + 40, bend),
        T6 = Score<TScore>(T6, low, high, key + 48, bend),
        T7 = Score<TScore>(T7, low, high, key + 56, bend),
    };

    /// <summary>−∞ where a row does not see a key.</summary>
    public readonly Block64 Seen(ScoreRow low, ScoreRow high, int key) => new()
    {
        T0 = Seen(T0, low, high, key),
        T1 = Seen(T1, low, high, key + 8),
        T2 = Seen(T2, low, high, key + 16),
        T3 = Seen(T3, low, high, key + 24),
        T4 = Seen(T4, low, high, key + 32),
        T5 = Seen(T5, low, high, key + 40),
        T6 = Seen(T6, low, high, key + 48),
        T7 = Seen(T7, low, high, key + 56),
    };

    /// <summary>2 to the power of a score times its unit minus its row's maximum.</summary>
    public readonly Block64 Weights(float unit, float low, float high) => new()
    {
        T0 = Weight(T0, unit, low, high),
        T1 = Weight(T1, unit, low, high),
        T2 = Weight(T2, unit, low, high),
        T3 = Weight(T3, unit, low, high),
        T4 = Weight(T4, unit, low, high),
        T5 = Weight(T5, unit, low, high),
        T6 = Weight(T6, unit, low, high),
        T7 = Weight(T7, unit, low, high),
    };

    public readonly float MaxLow() => Ptx.Max(
        Ptx.Max(Max(T0.X, T0.Y, T1.X, T1.Y), Max(T2.X, T2.Y, T3.X, T3.Y)),
        Ptx.Max(Max(T4.X, T4.Y, T5.X, T5.Y), Max(T6.X, T6.Y, T7.X, T7.Y)));

    public readonly float MaxHigh() => Ptx.Max(
        Ptx.Max(Max(T0.Z, T0.W, T1.Z, T1.W), Max(T2.Z, T2.W, T3.Z, T3.W)),
        Ptx.Max(Max(T4.Z, T4.W, T5.Z, T5.W), Max(T6.Z, T6.W, T7.Z, T7.W)));

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

    public static Sum4 Multiply(Sum4 c, Bits4 a, uint b0, uint b1) =>
        Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, a.X, a.Y, a.Z, a.W, b0, b1);

    public static Sum4 Multiply(Sum4 c, Both<Bits4> a, Bits4 b) =>
        Multiply(Multiply(c, a.First, b.X, b.Y), a.Last, b.Z, b.W);

    private static Bits4 Load(ArrayView<uint> values, int row, int swizzle, int chunk) =>
        Ptx.LdMatrixX4Transposed(ref values[row + (chunk ^ swizzle) * 4]);

    public static void Store(ArrayView<float> to, ArrayView<ushort> narrow, long low, long high, int channel, int end, Sum4 sum)
    {
        Store(to, narrow, low, channel, end, sum.X, sum.Y);
        Store(to, narrow, high, channel, end, sum.Z, sum.W);
    }

    /// <summary>Two neighbours of a row, which there is not below 0. Rows of an even length lie on even places. Zeros are positive.</summary>
    private static void Store(ArrayView<float> to, ArrayView<ushort> narrow, long row, int channel, int end, float first, float last)
    {
        if (row < 0 || channel >= end)
        {
            return;
        }

        first += 0f;
        last += 0f;
        long at = row + channel;
        bool both = (end & 1) == 0;
        if (narrow.Length != 0)
        {
            uint bits = Ptx.PackBf16(first, last);
            if (both)
            {
                narrow.Cast<uint>()[at >> 1] = bits;
            }
            else
            {
                narrow[at] = (ushort)bits;
                if (channel + 1 < end)
                {
                    narrow[at + 1] = (ushort)(bits >> 16);
                }
            }
        }
        else if (both)
        {
            to.Cast<Two>()[at >> 1] = new Two { A = first, B = last };
        }
        else
        {
            to[at] = first;
            if (channel + 1 < end)
            {
                to[at + 1] = last;
            }
        }
    }

    private static void Keep(Meeting low, Meeting high, ArrayView<Sum4> totals, long at, bool any, Sum4 sum)
    {
        Sum4 earlier = default;
        if (any)
        {
            earlier = totals[at];
        }

        totals[at] = Meeting.Add(low, high, earlier, sum);
    }

    private struct Two
    {
        public float A, B;
    }

    private static Sum4 Score<TScore>(Sum4 dots, ScoreRow low, ScoreRow high, int key, Bend bend)
        where TScore : struct, IScore
    {
        TScore score = default;
        return new()
        {
            X = score.Of(dots.X, low, key, bend),
            Y = score.Of(dots.Y, low, key + 1, bend),
            Z = score.Of(dots.Z, high, key, bend),
            W = score.Of(dots.W, high, key + 1, bend),
        };
    }

    private static Sum4 Seen(Sum4 scores, ScoreRow low, ScoreRow high, int key) => new()
    {
        X = low.Sees(key) ? scores.X : float.NegativeInfinity,
        Y = low.Sees(key + 1) ? scores.Y : float.NegativeInfinity,
        Z = high.Sees(key) ? scores.Z : float.NegativeInfinity,
        W = high.Sees(key + 1) ? scores.W : float.NegativeInfinity,
    };

    private static Sum4 Weight(Sum4 scores, float unit, float low, float high) => new()
    {
        X = Ptx.Exp2(Ptx.Fma(scores.X, unit, -low)),
        Y = Ptx.Exp2(Ptx.Fma(scores.Y, unit, -low)),
        Z = Ptx.Exp2(Ptx.Fma(scores.Z, unit, -high)),
        W = Ptx.Exp2(Ptx.Fma(scores.W, unit, -high)),
    };

    private static float Max(float a, float b, float c, float d) => Ptx.Max(Ptx.Max(a, b), Ptx.Max(c, d));
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

    public readonly Both<Pair<T>> Mix(
        Both<Pair<T>> outputs, bool twice, Bits4 first, Bits4 last, ArrayView<uint> values, int row, int swizzle, int chunk)
    {
        T of = default;
        var lower = new Both<T> { First = outputs.First._first, Last = outputs.Last._first };
        var upper = new Both<T> { First = outputs.First._second, Last = outputs.Last._second };
        lower = of.Mix(lower, twice, first, last, values, row, swizzle, chunk);
        upper = of.Mix(upper, twice, first, last, values, row, swizzle, chunk + of.Chunks);
        return new Both<Pair<T>>
        {
            First = new Pair<T> { _first = lower.First, _second = upper.First },
            Last = new Pair<T> { _first = lower.Last, _second = upper.Last },
        };
    }

    public readonly Pair<T> Kept(ArrayView<Sum4> totals, long at) => new()
    {
        _first = _first.Kept(totals, at),
        _second = _second.Kept(totals, at + (long)_first.Chunks * TensorAttentionKernels.Threads),
    };

    public readonly void Keep(Meeting low, Meeting high, ArrayView<Sum4> totals, long at, bool any)
    {
        _first.Keep(low, high, totals, at, any);
        _second.Keep(low, high, totals, at + (long)_first.Chunks * TensorAttentionKernels.Threads, any);
    }

    public readonly void Store(ArrayView<float> to, ArrayView<ushort> narrow, long low, long high, int channel, int end)
    {
        _first.Store(to, narrow, low, high, channel, end);
        _second.Store(to, narrow, low, high, channel + 8 * _first.Chunks, end);
    }
}
