using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using ILGPU;

namespace InterpEngine.Kernels.Gpu.Instructions;

/// <summary>
/// What the lanes of one warp show each other on the CPU accelerator, where each is a thread: the bodies of the instructions of
/// whole warps.
/// </summary>
internal sealed unsafe class WarpExchange
{
    private const int Lanes = 32, Registers = 6;
    private static readonly ConcurrentDictionary<int, WarpExchange> Exchanges = new();
    private static int s_last;

    [ThreadStatic]
    private static WarpExchange? s_ofThread;

    [ThreadStatic]
    private static int s_turn;

    // Two turns, so that one barrier is enough: a lane writes a turn's half again only after all have read it.
    private readonly uint[] _registers = new uint[2 * Lanes * Registers];

    /// <summary>C + A·B of 16×(8·<paramref name="pack"/>) by 8 matrices with pack elements in each register.</summary>
    public static Sum4 Multiply(Sum4 sum, ReadOnlySpan<uint> operands, int pack)
    {
        ReadOnlySpan<uint> all = Show(operands);
        int g = Warp.LaneIdx / 4, t = Warp.LaneIdx % 4;
        sum.X = Dot(sum.X, all, 0, g, 2 * t, pack);
        sum.Y = Dot(sum.Y, all, 0, g, 2 * t + 1, pack);
        sum.Z = Dot(sum.Z, all, 1, g, 2 * t, pack);
        sum.W = Dot(sum.W, all, 1, g, 2 * t + 1, pack);
        return sum;
    }

    /// <summary>Four 8×8 matrices of 16-bit elements; the lanes' rows are shown to all.</summary>
    public static Bits4 Load(ref uint row, bool transposed)
    {
        if (((nint)Unsafe.AsPointer(ref row) & 15) != 0)
        {
            throw new InvalidOperationException("ldmatrix: a row is not aligned to 16 bytes.");
        }

        ReadOnlySpan<uint> all = Show(new ReadOnlySpan<uint>(Unsafe.AsPointer(ref row), 4));
        int g = Warp.LaneIdx / 4, t = Warp.LaneIdx % 4;
        return new()
        {
            X = Matrix(all, 0, g, t, transposed),
            Y = Matrix(all, 1, g, t, transposed),
            Z = Matrix(all, 2, g, t, transposed),
            W = Matrix(all, 3, g, t, transposed),
        };
    }

    /// <summary>One bit for each lane whose value is not zero.</summary>
    public static uint Ballot(uint value)
    {
        ReadOnlySpan<uint> all = Show([value]);
        uint ballot = 0;
        for (int lane = 0; lane < Lanes; lane++)
        {
            ballot |= (all[lane * Registers] != 0 ? 1u : 0) << lane;
        }

        return ballot;
    }

    private static uint Matrix(ReadOnlySpan<uint> all, int matrix, int g, int t, bool transposed)
    {
        int row = matrix * 8;
        return transposed
            ? Half(all[(row + 2 * t) * Registers + g / 2], g) | Half(all[(row + 2 * t + 1) * Registers + g / 2], g) << 16
            : all[(row + g) * Registers + t];
    }

    private static uint Half(uint pair, int index) => (index & 1) == 0 ? pair & 0xffff : pair >> 16;

    /// <summary>Row g (+ 8 with half 1) of A times a column of B: registers half and half + 2 of row g's lanes, 4 and 5 of the
    /// column's.</summary>
    private static float Dot(float sum, ReadOnlySpan<uint> all, int half, int g, int column, int pack)
    {
        for (int step = 0; step < 2; step++)
        {
            for (int t = 0; t < 4; t++)
            {
                uint a = all[(g * 4 + t) * Registers + half + 2 * step], b = all[(column * 4 + t) * Registers + 4 + step];
                sum = pack == 1
                    ? MathF.FusedMultiplyAdd(Float(a), Float(b), sum)
                    : MathF.FusedMultiplyAdd(
                        Float(a & 0xffff0000), Float(b & 0xffff0000), MathF.FusedMultiplyAdd(Float(a << 16), Float(b << 16),
                        sum));
            }
        }

        return sum;
    }

    private static float Float(uint bits) => BitConverter.UInt32BitsToSingle(bits);

    /// <summary>Shows registers to the warp and sees those of all its lanes.</summary>
    private static ReadOnlySpan<uint> Show(ReadOnlySpan<uint> registers)
    {
        WarpExchange exchange = s_ofThread ??= Join();
        s_turn ^= 1;
        Span<uint> turn = exchange._registers.AsSpan(s_turn * Lanes * Registers, Lanes * Registers);
        registers.CopyTo(turn[(Warp.LaneIdx * Registers)..]);
        Warp.Barrier();
        return turn;
    }

    /// <summary>A thread of the CPU accelerator is the same lane of the same warp for life, so that each warp needs to agree
    /// once.</summary>
    private static WarpExchange Join()
    {
        int id = Warp.Shuffle(Warp.LaneIdx == 0 ? Interlocked.Increment(ref s_last) : 0, 0);
        return Exchanges.GetOrAdd(id, _ => new WarpExchange());
    }
}
