namespace InterpEngine.Kernels.Gpu;

/// <summary>Whose products with F32 and BF16 weights a GPU uses.</summary>
public enum ProductLibrary
{
    /// <summary>NVIDIA's cuBLASLt where it is installed, the engine's own else: the fastest for many rows.</summary>
    CublasLt,

    /// <summary>The engine's own: the fastest for one row, that is for generation.</summary>
    Own,
}

/// <summary>How a GPU computes. Either choice of products keeps all promises, but their bits differ from each other.</summary>
public sealed record CudaOptions
{
    /// <summary>Whose products are used.</summary>
    public ProductLibrary Products { get; init; }

    /// <summary>Whether operands of products with F32 weights are rounded to TF32 (10 fraction bits), which tensor cores
    /// multiply. Errors are then about 2⁻¹¹ of the operands, and no longer those of fp32.</summary>
    public bool Tf32 { get; init; }

    /// <summary>Whether attention rounds Q, K, V and the pattern to BF16 for the tensor cores. Errors are then about 2⁻⁸, a NaN
    /// among the values may reach queries up to 63 tokens earlier, and an intervention on scores or pattern continues in
    /// fp32.</summary>
    public bool Bf16Attention { get; init; }
}
