using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>A row of the scores: one query of one head.</summary>
internal struct ScoreRow
{
    public const float Log2E = 1.44269504088896341f;

    /// <summary>Where it lies among [batch, queries, heads]; −1 for none.</summary>
    public long Place;

    /// <summary>Keys that it sees: First … End − 1.</summary>
    public int First, End;

    /// <summary>The sequence's first key, from which the slope counts.</summary>
    public int Begin;

    public float Slope;

    /// <summary>The head's sink in units of log 2; −∞ for none.</summary>
    public float Sink;

    public readonly bool Sees(int key) => key >= First && key < End;
}

/// <summary>The numbers by which dot products become scores.</summary>
internal struct Bend(float scale, float cap)
{
    public float Scale = scale, Cap = cap;

    /// <summary>What a dot product is multiplied with to be twice what the cap's tanh is taken of, as an exponent of 2.</summary>
    public float Twice = scale * (2 * ScoreRow.Log2E) / cap;
}

/// <summary>How a dot product becomes a score.</summary>
internal interface IScore
{
    /// <summary>What a score is multiplied with to be an exponent of 2.</summary>
    float Unit(float scale);

    float Of(float dot, ScoreRow row, int key, Bend bend);

    /// <summary>What a score is multiplied with to be what the op's contract calls one.</summary>
    float Factor(float scale);
}

/// <summary>The dot product itself, the scale being part of its unit: one multiply-add a weight. The scale is above 0.</summary>
internal readonly struct PlainScore : IScore
{
    public float Unit(float scale) => scale * ScoreRow.Log2E;

    public float Of(float dot, ScoreRow row, int key, Bend bend) => dot;

    public float Factor(float scale) => scale;
}

/// <summary>Scaled, and with a slope, which may be 0.</summary>
internal readonly struct SlopedScore : IScore
{
    public float Unit(float scale) => ScoreRow.Log2E;

    public float Of(float dot, ScoreRow row, int key, Bend bend) => Ptx.Fma(row.Slope, key - row.Begin, dot * bend.Scale);

    public float Factor(float scale) => 1;
}

/// <summary>Scaled and capped, and with a slope, which may be 0.</summary>
internal readonly struct CappedScore : IScore
{
    public float Unit(float scale) => ScoreRow.Log2E;

    /// <summary>c·tanh(s/c) = c − 2c/(1 + e^(2s/c)): an absolute error about 2⁻²² of the cap, far below that of a BF16 product.</summary>
    public float Of(float dot, ScoreRow row, int key, Bend bend)
    {
        float score = Ptx.Fma(-2 * bend.Cap, Ptx.Reciprocal(1 + Ptx.Exp2(dot * bend.Twice)), bend.Cap);
        return Ptx.Fma(row.Slope, key - row.Begin, score);
    }

    public float Factor(float scale) => 1;
}

/// <summary>Where the softmaxes of rows g and g + 8 stand, which take their keys tile by tile.</summary>
internal struct Softmax
{
    /// <summary>Maxima, in units of log 2.</summary>
    public float MaxLow, MaxHigh;

    /// <summary>What sums and outputs are to be multiplied with after <see cref="Raise(float, float, float)"/>.</summary>
    public float FactorLow, FactorHigh;

    public static Softmax Begin => new() { MaxLow = float.NegativeInfinity, MaxHigh = float.NegativeInfinity };

    /// <summary>A row that has seen nothing yet has maximum −∞, and would make NaN of −∞ − −∞.</summary>
    public readonly float FromLow => MaxLow == float.NegativeInfinity ? 0 : MaxLow;

    public readonly float FromHigh => MaxHigh == float.NegativeInfinity ? 0 : MaxHigh;

    /// <summary>With the maximum of a tile of scores.</summary>
    public readonly Softmax Raise(Block64 scores, float unit) =>
        Raise(OfQuad(scores.MaxLow()), OfQuad(scores.MaxHigh()), unit);

    public readonly Softmax Raise(float low, float high, float unit)
    {
        Softmax next = this;
        next.MaxLow = Ptx.Max(MaxLow, low * unit);
        next.MaxHigh = Ptx.Max(MaxHigh, high * unit);
        next.FactorLow = Ptx.Exp2(MaxLow - next.FromLow);
        next.FactorHigh = Ptx.Exp2(MaxHigh - next.FromHigh);
        return next;
    }

    /// <summary>The largest of the four lanes that share a row.</summary>
    public static float OfQuad(float max)
    {
        max = Ptx.Max(max, Warp.ShuffleXor(max, 1));
        return Ptx.Max(max, Warp.ShuffleXor(max, 2));
    }
}

/// <summary>What a warp has made of its rows until now, but for the sums, which wait in shared memory: registers are short.</summary>
internal struct Attended<TChannels> where TChannels : struct, IChannels<TChannels>
{
    public Both<TChannels> Output;
    public Softmax First, Last;

    /// <summary>With a tile of scores, whose values lie in shared memory.</summary>
    /// <param name="scores">The scores.</param>
    /// <param name="unit">What makes them exponents of 2.</param>
    /// <param name="twice">Whether there are the last 16 rows.</param>
    /// <param name="sums">The lane's part of the sums of rows g, g + 8, g + 16 and g + 24.</param>
    /// <param name="words">Shared memory.</param>
    /// <param name="valuesAt">The chunk where the values begin.</param>
    public readonly Attended<TChannels> Add(
        Both<Block64> scores, float unit, bool twice, ref Four sums, ArrayView<uint> words, int valuesAt)
    {
        TChannels channels = default;
        Both<TChannels> output = Output;
        Softmax first = First.Raise(scores.First, unit), last = Last;
        output.First = output.First.Scale(first.FactorLow, first.FactorHigh);
        Block64 a = scores.First.Weights(unit, first.FromLow, first.FromHigh), b = default;
        Four sum = sums;
        sum.A = Ptx.Fma(sum.A, first.FactorLow, a.SumLow());
        sum.B = Ptx.Fma(sum.B, first.FactorHigh, a.SumHigh());
        if (twice)
        {
            last = last.Raise(scores.Last, unit);
            output.Last = output.Last.Scale(last.FactorLow, last.FactorHigh);
            b = scores.Last.Weights(unit, last.FromLow, last.FromHigh);
            sum.C = Ptx.Fma(sum.C, last.FactorLow, b.SumLow());
            sum.D = Ptx.Fma(sum.D, last.FactorHigh, b.SumHigh());
        }

        sums = sum;
        int lane = Group.IdxX & 31, pitch = channels.Chunks, at = (valuesAt + (lane & 15) * pitch) * 4, step = 16 * pitch * 4;
        output = channels.Mix(output, twice, Block64.Pack(a.T0, a.T1), Block64.Pack(b.T0, b.T1), words, at, lane & 7, lane >> 4);
        output = channels.Mix(output, twice, Block64.Pack(a.T2, a.T3), Block64.Pack(b.T2, b.T3), words, at + step, lane & 7, lane >> 4);
        output = channels.Mix(output, twice, Block64.Pack(a.T4, a.T5), Block64.Pack(b.T4, b.T5), words, at + 2 * step, lane & 7, lane >> 4);
        output = channels.Mix(output, twice, Block64.Pack(a.T6, a.T7), Block64.Pack(b.T6, b.T7), words, at + 3 * step, lane & 7, lane >> 4);
        return new Attended<TChannels> { Output = output, First = first, Last = last };
    }
}
