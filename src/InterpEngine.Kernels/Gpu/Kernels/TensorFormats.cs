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
    /// C plus the products of 64 bytes of K of 16 rows of X with those of 8 columns of the weight, in two instructions.
    /// </summary>
    /// <param name="c">16 rows by 8 columns.</param>
    /// <param name="x">X as the two instructions' A: see <see cref="TensorRows"/>.</param>
    /// <param name="w">Lane (g, t) has chunk t of the four of column g.</param>
    Sum4 Multiply(Sum4 c, Both<Bits4> x, Bits4 w);
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

    public Sum4 Multiply(Sum4 c, Both<Bits4> x, Bits4 w)
    {
        c = Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, x.First.X, x.First.Y, x.First.Z, x.First.W, w.X, w.Y);
        return Ptx.MmaBf16(c.X, c.Y, c.Z, c.W, x.Last.X, x.Last.Y, x.Last.Z, x.Last.W, w.Z, w.W);
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

    public Sum4 Multiply(Sum4 c, Both<Bits4> x, Bits4 w)
    {
        w = Round(w);
        c = Ptx.MmaTf32(c.X, c.Y, c.Z, c.W, x.First.X, x.First.Y, x.First.Z, x.First.W, w.X, w.Y);
        return Ptx.MmaTf32(c.X, c.Y, c.Z, c.W, x.Last.X, x.Last.Y, x.Last.Z, x.Last.W, w.Z, w.W);
    }

    private static Bits4 Round(Bits4 bits) => new()
    {
        X = Ptx.RoundToTf32(Interop.IntAsFloat(bits.X)),
        Y = Ptx.RoundToTf32(Interop.IntAsFloat(bits.Y)),
        Z = Ptx.RoundToTf32(Interop.IntAsFloat(bits.Z)),
        W = Ptx.RoundToTf32(Interop.IntAsFloat(bits.W)),
    };
}
