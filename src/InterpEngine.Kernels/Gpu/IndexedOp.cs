namespace InterpEngine.Kernels.Gpu;

/// <summary>Ops whose tensors hold indices or places, which only the device can check.</summary>
internal enum IndexedOp
{
    None,
    Embed,
    Rotary,
    LogProbability,
    GatherRows,
    CombineRows,
    Append,
    SparseEncode,
    SparseProduct,
    GroupedMatMul,

    /// <summary>No bad index: a sparse matrix of 2³¹ entries or more.</summary>
    TooManySurvivors,
}
