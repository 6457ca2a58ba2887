using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Gpu.CublasLt;

/// <summary>cublasComputeType_t: how products are made and summed.</summary>
internal enum ComputeType
{
    /// <summary>fp32 throughout; BF16 operands are multiplied exactly and summed in fp32.</summary>
    Float32 = 68,

    /// <summary>fp32 operands are rounded to TF32.</summary>
    FastTf32 = 77,
}

/// <summary>cudaDataType_t.</summary>
internal enum DataType
{
    Float32 = 0,
    BFloat16 = 14,
}

/// <summary>cublasOperation_t.</summary>
internal enum Operation
{
    None = 0,
    Transpose = 1,
}

/// <summary>cublasLtMatmulDescAttributes_t.</summary>
internal enum DescriptorAttribute
{
    TransposeA = 3,
    TransposeB = 4,
    Epilogue = 7,
    BiasPointer = 8,
}

/// <summary>cublasLtEpilogue_t, those whose steps round as the op's contract says. The library's GELU approximates its tanh, and
/// what its ReLU makes of NaN is not said.</summary>
internal enum LtEpilogue
{
    None = 1,
    Bias = 4,
}

/// <summary>cublasLtMatmulPreferenceAttributes_t.</summary>
internal enum PreferenceAttribute
{
    MaximumWorkspaceBytes = 1,
    ReductionSchemes = 3,
    MinimumAlignmentA = 5,
    MinimumAlignmentB = 6,
    MinimumAlignmentC = 7,
    MinimumAlignmentD = 8,
}

/// <summary>cublasLtMatmulAlgoConfigAttributes_t.</summary>
internal enum AlgorithmAttribute
{
    SplitK = 2,
    ReductionScheme = 3,
}

/// <summary>cublasLtMatmulAlgo_t: opaque, and a plain value that may be copied.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct Algorithm
{
    public ulong First;
}

/// <summary>cublasLtMatmulHeuristicResult_t.</summary>
[StructLayout(LayoutKind.Sequential, Size = 96)]
internal struct Heuristic
{
    public Algorithm Algorithm;
    public nuint WorkspaceBytes;
    public CublasStatus Status;
    public float Waves;
}
