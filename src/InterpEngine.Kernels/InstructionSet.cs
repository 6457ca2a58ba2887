namespace InterpEngine.Kernels;

/// <summary>What the native CPU kernels are compiled for, narrowest first. fp32 results are bitwise the same on all.</summary>
public enum InstructionSet
{
    /// <summary>Portable C++, no vector instructions assumed: the floor.</summary>
    Scalar,

    /// <summary>x86-64 with AVX2 and FMA: 8 lanes.</summary>
    Avx2,

    /// <summary>x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes.</summary>
    Avx512,
}
