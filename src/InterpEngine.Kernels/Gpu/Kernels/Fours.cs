using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Four numbers, which move together where they lie on a multiple of 16 bytes.</summary>
internal struct Four
{
    public float A, B, C, D;

    public static Four Fma(float a, Four b, Four c) => new()
    {
        A = Ptx.Fma(a, b.A, c.A),
        B = Ptx.Fma(a, b.B, c.B),
        C = Ptx.Fma(a, b.C, c.C),
        D = Ptx.Fma(a, b.D, c.D),
    };

    public static Four Fma(Four a, Four b, Four c) => new()
    {
        A = Ptx.Fma(a.A, b.A, c.A),
        B = Ptx.Fma(a.B, b.B, c.B),
        C = Ptx.Fma(a.C, b.C, c.C),
        D = Ptx.Fma(a.D, b.D, c.D),
    };

    public static Four Sum(Four a, Four b) => new() { A = a.A + b.A, B = a.B + b.B, C = a.C + b.C, D = a.D + b.D };

    public static Four Difference(Four a, Four b) => new() { A = a.A - b.A, B = a.B - b.B, C = a.C - b.C, D = a.D - b.D };

    public static Four Product(Four a, Four b) => new() { A = a.A * b.A, B = a.B * b.B, C = a.C * b.C, D = a.D * b.D };

    public readonly Four Times(float factor) => new() { A = A * factor, B = B * factor, C = C * factor, D = D * factor };
}

/// <summary>How four neighbours are read and written. Kernels are compiled for each way: both in one would be too much code.</summary>
internal interface IAccess
{
    /// <summary>Elements at … at + 3 of a view, of which the first <paramref name="count"/> are there, which may be below 0 and above 4;
    /// zeros for the others.</summary>
    Four Load(ArrayView<float> from, long at, int count);

    /// <summary>Writes the first <paramref name="count"/>.</summary>
    void Store(ArrayView<float> to, long at, Four four, int count);

    /// <summary>Writes the first <paramref name="count"/> in BF16.</summary>
    void Store(ArrayView<ushort> to, long at, Four four, int count);
}

/// <summary>At once: views lie on multiples of four elements, and their rows begin and end there.</summary>
internal readonly struct AtOnce : IAccess
{
    public Four Load(ArrayView<float> from, long at, int count)
    {
        Four four = default;
        if (count > 0)
        {
            four = from.Cast<Four>()[at >> 2];
        }

        return four;
    }

    public void Store(ArrayView<float> to, long at, Four four, int count)
    {
        if (count > 0)
        {
            to.Cast<Four>()[at >> 2] = four;
        }
    }

    public void Store(ArrayView<ushort> to, long at, Four four, int count)
    {
        if (count > 0)
        {
            to.Cast<FourHalves>()[at >> 2] = new FourHalves { AB = Ptx.PackBf16(four.A, four.B), CD = Ptx.PackBf16(four.C, four.D) };
        }
    }
}

/// <summary>One after the other: views lie anywhere.</summary>
internal readonly struct OneByOne : IAccess
{
    public Four Load(ArrayView<float> from, long at, int count) => new()
    {
        A = count > 0 ? from[at] : 0,
        B = count > 1 ? from[at + 1] : 0,
        C = count > 2 ? from[at + 2] : 0,
        D = count > 3 ? from[at + 3] : 0,
    };

    public void Store(ArrayView<float> to, long at, Four four, int count)
    {
        Store(to, at, four.A, count > 0);
        Store(to, at + 1, four.B, count > 1);
        Store(to, at + 2, four.C, count > 2);
        Store(to, at + 3, four.D, count > 3);
    }

    public void Store(ArrayView<ushort> to, long at, Four four, int count)
    {
        uint first = Ptx.PackBf16(four.A, four.B), last = Ptx.PackBf16(four.C, four.D);
        Store(to, at, first, count > 0);
        Store(to, at + 1, first >> 16, count > 1);
        Store(to, at + 2, last, count > 2);
        Store(to, at + 3, last >> 16, count > 3);
    }

    private static void Store(ArrayView<float> to, long at, float value, bool there)
    {
        if (there)
        {
            to[at] = value;
        }
    }

    private static void Store(ArrayView<ushort> to, long at, uint value, bool there)
    {
        if (there)
        {
            to[at] = (ushort)value;
        }
    }
}

/// <summary>Four BF16 numbers.</summary>
internal struct FourHalves
{
    public uint AB, CD;
}
