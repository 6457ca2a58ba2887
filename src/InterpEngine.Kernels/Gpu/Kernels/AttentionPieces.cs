using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Long texts in pieces of keys that count from a sequence's first token, so that groups can share them: each piece has a softmax and an
/// output of its own, and is added to those before it. What a row does not see of them leaves its numbers as they are, but for the sign
/// of a zero, which the last step makes positive.
/// </summary>
internal static class AttentionPieces
{
    /// <summary>Keys of a piece: two rounds of <see cref="TensorAttentionStepKernels"/>. In the kernel of many queries a piece's end takes a
    /// few per cent of the time of its tiles.</summary>
    public const int Keys = 1024;

    private const float Nothing = float.NegativeInfinity;

    /// <summary>What was kept of all pieces.</summary>
    public static Attended<TChannels> Kept<TChannels>(ref Four sums, EarlierPieces earlier, ArrayView<Sum4> totals, long at, bool twice)
        where TChannels : struct, IChannels<TChannels>
    {
        TChannels channels = default;
        Attended<TChannels> state = default;
        sums = earlier.Sums;
        state.First.MaxLow = earlier.Max.A;
        state.First.MaxHigh = earlier.Max.B;
        state.Output.First = channels.Kept(totals, at);
        if (twice)
        {
            state.Last.MaxLow = earlier.Max.C;
            state.Last.MaxHigh = earlier.Max.D;
            state.Output.Last = channels.Kept(totals, Last<TChannels>(at));
        }

        return state;
    }

    /// <summary>Adds a finished piece to those before, of which there may not be <paramref name="any"/>, in memory: registers are short.</summary>
    public static void Keep<TChannels>(
        Attended<TChannels> state, ref Four sums, ref EarlierPieces earlier, ArrayView<Sum4> totals, long at, bool any, bool twice)
        where TChannels : struct, IChannels<TChannels>
    {
        EarlierPieces kept = earlier;
        if (!any)
        {
            kept = new EarlierPieces { Max = new Four { A = Nothing, B = Nothing, C = Nothing, D = Nothing } };
        }

        Meeting a = Meeting.Of(kept.Max.A, state.First.MaxLow), b = Meeting.Of(kept.Max.B, state.First.MaxHigh);
        state.Output.First.Keep(a, b, totals, at, any);
        Four sum = sums;
        kept.Max.A = a.Max;
        kept.Max.B = b.Max;
        kept.Sums.A = a.Add(kept.Sums.A, sum.A);
        kept.Sums.B = b.Add(kept.Sums.B, sum.B);
        if (twice)
        {
            Meeting c = Meeting.Of(kept.Max.C, state.Last.MaxLow), d = Meeting.Of(kept.Max.D, state.Last.MaxHigh);
            state.Output.Last.Keep(c, d, totals, Last<TChannels>(at), any);
            kept.Max.C = c.Max;
            kept.Max.D = d.Max;
            kept.Sums.C = c.Add(kept.Sums.C, sum.C);
            kept.Sums.D = d.Add(kept.Sums.D, sum.D);
        }

        earlier = kept;
        sums = default;
    }

    /// <summary>Where a lane keeps the last 16 rows.</summary>
    private static long Last<TChannels>(long at) where TChannels : struct, IChannels<TChannels> =>
        at + (long)default(TChannels).Chunks * TensorAttentionKernels.Threads;
}

/// <summary>A lane's maxima and parts of sums of rows g, g + 8, g + 16 and g + 24 over the pieces before.</summary>
internal struct EarlierPieces
{
    public Four Max, Sums;

    /// <summary>The end of the piece that is worked on.</summary>
    public int PieceEnd;
}

/// <summary>A row's softmaxes over two parts of its keys as one: its maximum, and what sums and outputs of either are multiplied with.</summary>
internal struct Meeting
{
    public float Max, Earlier, Later;

    public static Meeting Of(float earlier, float later)
    {
        float max = Ptx.Max(earlier, later), from = max == float.NegativeInfinity ? 0 : max;
        return new Meeting { Max = max, Earlier = Ptx.Exp2(earlier - from), Later = Ptx.Exp2(later - from) };
    }

    public readonly float Add(float earlier, float later) => Ptx.Fma(earlier, Earlier, later * Later);

    /// <summary>A lane's part of an output.</summary>
    public static Sum4 Add(Meeting low, Meeting high, Sum4 earlier, Sum4 later) => new()
    {
        X = low.Add(earlier.X, later.X),
        Y = low.Add(earlier.Y, later.Y),
        Z = high.Add(earlier.Z, later.Z),
        W = high.Add(earlier.W, later.W),
    };
}
