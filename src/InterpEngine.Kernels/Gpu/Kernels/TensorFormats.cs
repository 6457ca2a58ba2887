using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>What tensor cores multiply, in chunks of 16 bytes along K.</summary>
internal interface ITensorFormat
{
    /// <summary>Chunk <paramref name="chunk"/> of a row of X that begins at <paramref name="row"/>, rounded; zeros from
    /// <paramref name="inner"/> on. Aligned rows lie on multiples of 16 bytes.</summary>
    Bits4 Round(ArrayView<float> x, long row, int chunk, int inner, bool aligned);

    /// <summary>
    /// C plus the products of 64 bytes of K of 16 columns of the weight with those of 8 rows of X. Lane (g, t) = (lane / 4, lane
    /// % 4) has chunk t of columns g and g + 8 and of row g.
    /// </summary>
    Sum4 Multiply(Sum4 c, Bits4 low, Bits4 high, Bits4 row);
}

/// <summary>
/// BF16. An instruction takes 16 of K, of which lane t holds four: as which four is ours to choose, and with the first and the
/// last half of each chunk a lane loads 16 bytes at once, from memory as it is.
/// </summary>
internal readonly struct BF16Tensor : ITensorFormat
{
    public Bits4 Round(ArrayView<float> x, long row, int chunk, int inner, bool aligned)
    {
        Bits4 bits = default;
        int k = chunk * 8;
        if (aligned && k + 8 <= inner)
        {
            ArrayView<Four> fours = x.Cast<Four>();
            Four first = fours[(row + k) / 4], last = fours[(row + k) / 4 + 1];
            bits.X = Ptx.PackBf16(first.A, first.B);
            bits.Y = Ptx.PackBf16(first.C, first.D);
            bits.Z = Ptx.PackBf16(last.A, last.B);
            bits.W = Ptx.PackBf16(last.C, last.D);
        }
        else
        {
            bits.X = Pair(x, row, k, inner);
            bits.Y = Pair(x, row, k + 2, inner);
            bits.Z = Pair(x, row, k + 4, inner);
            bits.W = Pair(x, row, k + 6, inner);
        }

        return bits;
    }

    public Sum4 Multiply(Sum4 c, Bits4 low, Bits4 high, Bits4 row)
    {
        c = Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, low.X, high.X, low.Y, high.Y, row.X, row.Y);
        return Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, low.Z, high.Z, low.W, high.W, row.Z, row.W);
    }

    private static uint Pair(ArrayView<float> x, long row, int k, int inner) =>
        Ptx.PackBf16(k < inner ? x[row + k] : 0, k + 1 < inner ? x[row + k + 1] : 0);
}

/// <summary>fp32 rounded to TF32, four of K in a chunk; the weight's elements are rounded here, X's before.</summary>
internal readonly struct TF32Tensor : ITensorFormat
{
    public Bits4 Round(ArrayView<float> x, long row, int chunk, int inner, bool aligned)
    {
        Four four = default;
        int k = chunk * 4;
        if (aligned && k + 4 <= inner)
        {
            four = x.Cast<Four>()[(row + k) / 4];
        }
        else
        {
            four.A = k < inner ? x[row + k] : 0;
            four.B = k + 1 < inner ? x[row + k + 1] : 0;
            four.C = k + 2 < inner ? x[row + k + 2] : 0;
            four.D = k + 3 < inner ? x[row + k + 3] : 0;
        }

        return new Bits4
        {
            X = Ptx.RoundToTf32(four.A),
            Y = Ptx.RoundToTf32(four.B),
            Z = Ptx.RoundToTf32(four.C),
            W = Ptx.RoundToTf32(four.D),
        };
    }

    public Sum4 Multiply(Sum4 c, Bits4 low, Bits4 high, Bits4 row)
    {
        low = Round(low);
        high = Round(high);
        c = Ptx.MmaTf32(c.X, c.Y, c.Z, c.W, low.X, high.X, low.Y, high.Y, row.X, row.Y);
        return Ptx.MmaTf32(c.X, c.Y, c.Z, c.W, low.Z, high.Z, low.W, high.W, row.Z, row.W);
    }

    private static Bits4 Round(Bits4 bits) => new()
    {
        X = Ptx.RoundToTf32(Interop.IntAsFloat(bits.X)),
        Y = Ptx.RoundToTf32(Interop.IntAsFloat(bits.Y)),
        Z = Ptx.RoundToTf32(Interop.IntAsFloat(bits.Z)),
        W = Ptx.RoundToTf32(Interop.IntAsFloat(bits.W)),
    };
}
