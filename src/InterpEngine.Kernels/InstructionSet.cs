namespace InterpEngine.Kernels;

/// <summary>
/// What the native CPU kernels are compiled for, narrowest first. Results are bitwise the same on all, but for products with BF16
/// weights, which the last two make in hardware with an order of summation of its own.
/// </summary>
public enum InstructionSet
{
    /// <summary>Portable C++, no vector instructions assumed: the floor.</summary>
    Scalar,

    /// <summary>x86-64 with AVX2 and FMA: 8 lanes.</summary>
    Avx2,

    /// <summary>x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes.</summary>
    Avx512,

    /// <summary>That and VNNI and BF16 dot products: Zen 4, Sapphire Rapids and later.</summary>
    Avx512Bf16,

    /// <summary>That and AMX tiles of BF16: Sapphire Rapids and later.</summary>
    Amx,
}
