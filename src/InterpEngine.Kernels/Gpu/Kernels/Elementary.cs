using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Elementary functions with the polynomials and the bits of the CPU kernels (native/src/math16.h, where their errors are stated).
/// </summary>
internal static class Elementary
{
    private const float Log2E = 1.44269504088896341f;
    private const float Ln2High = 0.693145751953125f; // 12 bits: its products with small whole numbers are exact
    private const float Ln2Low = 1.42860682030941723e-6f;
    private const float Rounder = 12582912; // 1.5·2²³: adding and subtracting it rounds to a whole number

    /// <summary>The non-linearity with the number of an <see cref="Activation"/>. Four at a time ask once which one it is.</summary>
    public static Four Activate(int activation, Four x)
    {
        if (activation == (int)Activation.None)
        {
            return x;
        }

        if (activation == (int)Activation.Relu)
        {
            return Relu(x);
        }

        if (activation == (int)Activation.ReluSquared)
        {
            return Four.Product(Relu(x), Relu(x));
        }

        if (activation == (int)Activation.Gelu)
        {
            return new() { A = Gelu(x.A), B = Gelu(x.B), C = Gelu(x.C), D = Gelu(x.D) };
        }

        if (activation == (int)Activation.Tanh)
        {
            return new() { A = Tanh(x.A), B = Tanh(x.B), C = Tanh(x.C), D = Tanh(x.D) };
        }

        // All others are x·σ(u), or σ itself; ½(1 + tanh u) = σ(2u).
        Four u = x;
        if (activation == (int)Activation.GeluTanh)
        {
            u = new() { A = TwiceGeluTanh(x.A), B = TwiceGeluTanh(x.B), C = TwiceGeluTanh(x.C), D = TwiceGeluTanh(x.D) };
        }

        if (activation == (int)Activation.QuickGelu)
        {
            u = x.Times(1.702f);
        }

        var sigmoid = new Four { A = Sigmoid(u.A), B = Sigmoid(u.B), C = Sigmoid(u.C), D = Sigmoid(u.D) };
        return activation == (int)Activation.Sigmoid ? sigmoid : Four.Product(x, sigmoid);
    }

    /// <summary>The non-linearity with the number of an <see cref="Activation"/>.</summary>
    public static float Activate(int activation, float x) => Activate(activation, new Four { A = x }).A;

    /// <summary>eˣ for x ≤ 0.</summary>
    public static float Exp(float x)
    {
        // n + 64 stands in the lowest bits of what is rounded, and is added to the exponent as it is; 2ⁿ alone may be too small for
        // one. The last factor, 2⁻⁶⁴, rounds once, and is NaN where x is: additions to bits lose that.
        float clamped = x < -104 ? -104 : x, rounded = Ptx.Fma(clamped, Log2E, Rounder + 64), n = rounded - (Rounder + 64);
        float power = ExpMinus1(Reduce(clamped, n)) + 1;
        float raised = Interop.IntAsFloat(Interop.FloatAsInt(power) + (Interop.FloatAsInt(rounded) << 23));
        return raised * Ptx.Fma(clamped, 0, 5.42101086e-20f);
    }

    public static float Sigmoid(float x)
    {
        float e = Exp(-Abs(x));
        return Quotient(x < 0 ? e : 1, 1 + e);
    }

    public static float Tanh(float x)
    {
        float t = Abs(x), twice = t * -2, clamped = twice < -40 ? -40 : twice;
        float rounded = Ptx.Fma(clamped, Log2E, Rounder), q = ExpMinus1(Reduce(clamped, rounded - Rounder));
        float s = Interop.IntAsFloat(0x3f800000 + (Interop.FloatAsInt(rounded) << 23));
        float e = Ptx.Fma(s, q, s);
        bool near = t < 0.5493f;
        float y = Quotient(near ? Ptx.Fma(-s, q, 1 - s) : 2 * e, 1 + e);
        return WithSign(near ? y : 1 - y, x);
    }

    public static float Erf(float x)
    {
        float t = Abs(x);
        t = t > 4 ? 4 : t;
        float s = t * t, p = 8.39780987e-05f;
        p = Ptx.Fma(p, s, -0.000814980944f);
        p = Ptx.Fma(p, s, 0.00520171644f);
        p = Ptx.Fma(p, s, -0.0268597025f);
        p = Ptx.Fma(p, s, 0.112837017f);
        p = Ptx.Fma(p, s, -0.376126349f);
        p = Ptx.Fma(p, s, 0.128379166f);
        float q = 1.13047636e-05f;
        q = Ptx.Fma(q, t, -0.000323538145f);
        q = Ptx.Fma(q, t, 0.00364544056f);
        q = Ptx.Fma(q, t, -0.0237683598f);
        q = Ptx.Fma(q, t, 0.106244177f);
        q = Ptx.Fma(q, t, 0.635146916f);
        q = Ptx.Fma(q, t, 1.12864959f);
        return WithSign(t < 0.921875f ? Ptx.Fma(p, t, t) : 1 - Exp(-(q * t)), x);
    }

    public static float Log(float x)
    {
        bool small = x < 1.17549435e-38f;
        uint bits = Interop.FloatAsInt(small ? x * 8388608 : x);
        uint from = bits - 0x3f3504f3u; // √½: m lies in [√½, √2)
        float e = (int)from >> 23;
        float m = Interop.IntAsFloat((from & 0x007fffffu) + 0x3f3504f3u);
        e = small ? e - 23 : e;
        float f = m - 1, f2 = f * f, p = 0.069159694f;
        p = Ptx.Fma(p, f, -0.117888518f);
        p = Ptx.Fma(p, f, 0.118721507f);
        p = Ptx.Fma(p, f, -0.123844758f);
        p = Ptx.Fma(p, f, 0.142188013f);
        p = Ptx.Fma(p, f, -0.166692466f);
        p = Ptx.Fma(p, f, 0.200022176f);
        p = Ptx.Fma(p, f, -0.249999866f);
        p = Ptx.Fma(p, f, 0.333333105f);
        float y = Ptx.Fma(e, Ln2Low, p * (f2 * f));
        y = Ptx.Fma(e, Ln2High, f + Ptx.Fma(f2, -0.5f, y));
        if (x > 0)
        {
            return x < float.PositiveInfinity ? y : x;
        }

        return x == 0 ? float.NegativeInfinity : float.NaN;
    }

    public static float Abs(float x) => Interop.IntAsFloat(Interop.FloatAsInt(x) & 0x7fffffffu);

    /// <summary>The larger one; NaN only where both are.</summary>
    public static float Max(float a, float b) => a > b || IsNaN(b) ? a : b;

    public static bool IsNaN(float x) => (Interop.FloatAsInt(x) & 0x7fffffffu) > 0x7f800000u;

    /// <summary>A number that grows with x: NaN above everything, −0 equal to +0, nothing is 0.</summary>
    public static uint Order(float x)
    {
        uint bits = Interop.FloatAsInt(x);
        if (IsNaN(x))
        {
            return 0xffffffffu;
        }

        bits = bits == 0x80000000u ? 0 : bits;
        return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    }

    /// <summary>The nearest BF16, ties to even, as its sixteen bits.</summary>
    public static uint RoundBF16(float x)
    {
        uint bits = Interop.FloatAsInt(x);
        uint rounded = bits + 0x7fff + (bits >> 16 & 1);
        return (IsNaN(x) ? bits | 0x00400000 : rounded) >> 16;
    }

    /// <summary>The nearest whole number of a small value, ties to even.</summary>
    public static float Round(float x) => x + Rounder - Rounder;

    /// <summary>a/b for b in [1, 2] and |a| ≤ 2, within 0.51 ulp: the reciprocal by one step of Newton's, the quotient corrected by its
    /// remainder. A division for every b takes twice the instructions.</summary>
    private static float Quotient(float a, float b)
    {
        float r = Ptx.Reciprocal(b);
        r = Ptx.Fma(Ptx.Fma(-b, r, 1), r, r);
        float q = a * r;
        return Ptx.Fma(Ptx.Fma(-b, q, a), r, q);
    }

    private static float Relu(float x) => x < 0 ? 0 : x;

    private static Four Relu(Four x) => new() { A = Relu(x.A), B = Relu(x.B), C = Relu(x.C), D = Relu(x.D) };

    private static float Gelu(float x) => 0.5f * x * (1 + Erf(x * 0.707106781f));

    /// <summary>2√(2/π)·(x + 0.044715·x³).</summary>
    private static float TwiceGeluTanh(float x) => 1.59576912f * Ptx.Fma(x * x * x, 0.044715f, x);

    /// <summary>x − n·ln 2.</summary>
    private static float Reduce(float x, float n) => Ptx.Fma(n, -Ln2Low, Ptx.Fma(n, -Ln2High, x));

    private static float ExpMinus1(float r)
    {
        float p = 0.000199143033f;
        p = Ptx.Fma(p, r, 0.00139410631f);
        p = Ptx.Fma(p, r, 0.00833327323f);
        p = Ptx.Fma(p, r, 0.041666355f);
        p = Ptx.Fma(p, r, 0.166666672f);
        p = Ptx.Fma(p, r, 0.5f);
        return Ptx.Fma(r * r, p, r);
    }

    private static float WithSign(float magnitude, float sign) =>
        Interop.IntAsFloat((Interop.FloatAsInt(magnitude) & 0x7fffffffu) | (Interop.FloatAsInt(sign) & 0x80000000u));
}
