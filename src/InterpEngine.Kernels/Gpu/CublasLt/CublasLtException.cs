namespace InterpEngine.Kernels.Gpu.CublasLt;

/// <summary>Status codes of cuBLAS (cublas_api.h).</summary>
public enum CublasStatus
{
    /// <summary>The call succeeded.</summary>
    Success = 0,

    /// <summary>The library could not be initialised.</summary>
    NotInitialized = 1,

    /// <summary>There is no memory for the library's own needs.</summary>
    AllocationFailed = 3,

    /// <summary>An argument is wrong.</summary>
    InvalidValue = 7,

    /// <summary>The GPU lacks something that the call needs.</summary>
    ArchitectureMismatch = 8,

    /// <summary>Memory of the GPU could not be accessed.</summary>
    MappingError = 11,

    /// <summary>The GPU failed while it computed.</summary>
    ExecutionFailed = 13,

    /// <summary>The library failed inside.</summary>
    InternalError = 14,

    /// <summary>No algorithm does what was asked.</summary>
    NotSupported = 15,

    /// <summary>The library's licence could not be checked.</summary>
    LicenseError = 16,
}

/// <summary>cuBLASLt refused a call or failed in it.</summary>
public sealed class CublasLtException : InterpException
{
    internal CublasLtException(string call, CublasStatus status)
        : base($"cuBLASLt: {call} failed with {NameOf(status)}.", HintOf(status)) => Status = status;

    /// <summary>What the library answered.</summary>
    public CublasStatus Status { get; }

    private static string NameOf(CublasStatus status) =>
        Enum.IsDefined(status) ? $"{status} ({(int)status})" : $"status {(int)status}";

    private static string HintOf(CublasStatus status) => status switch
    {
        CublasStatus.NotInitialized or CublasStatus.LicenseError =>
            "Check that the GPU's driver is at least as new as the CUDA version of the cuBLASLt library.",
        CublasStatus.AllocationFailed => "Use a smaller batch or shorter sequences, or end other programs on the GPU.",
        CublasStatus.ArchitectureMismatch or CublasStatus.NotSupported or CublasStatus.InvalidValue =>
            "Choose the engine's own products, which run on every GPU from Ampere on.",
        CublasStatus.MappingError or CublasStatus.ExecutionFailed =>
            "The GPU may have been lost; start the program anew, and see `nvidia-smi` and the system's log if it happens again.",
        _ => "Update the GPU's driver and the CUDA libraries, or choose the engine's own products.",
    };
}
