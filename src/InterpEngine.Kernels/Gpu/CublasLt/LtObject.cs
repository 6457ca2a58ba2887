using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Gpu.CublasLt;

/// <summary>An object of the library: its context, a descriptor, a layout or a preference.</summary>
internal sealed unsafe class LtObject : SafeHandle
{
    private readonly delegate* unmanaged<nint, CublasStatus> _destroy;

    private LtObject(nint handle, delegate* unmanaged<nint, CublasStatus> destroy) : base(0, ownsHandle: true)
    {
        _destroy = destroy;
        SetHandle(handle);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The pointer that the library's functions take; the object must outlive the call.</summary>
    public nint Pointer => handle;

    /// <summary>The context of the current GPU.</summary>
    public static LtObject Context(CublasLtApi api)
    {
        nint handle;
        CublasLtApi.Check(api.Create(&handle), "cublasLtCreate");
        return new(handle, api.Destroy);
    }

    /// <summary>D = op(A)·op(B) with fp32 scales: A transposed, B not.</summary>
    public static LtObject Descriptor(CublasLtApi api, ComputeType compute, LtEpilogue epilogue, nint bias)
    {
        nint handle;
        CublasLtApi.Check(api.DescriptorCreate(&handle, compute, DataType.Float32), "cublasLtMatmulDescCreate");
        var descriptor = new LtObject(handle, api.DescriptorDestroy);
        Set(DescriptorAttribute.TransposeA, Operation.Transpose);
        Set(DescriptorAttribute.TransposeB, Operation.None);
        Set(DescriptorAttribute.Epilogue, epilogue);
        if (epilogue == LtEpilogue.Bias)
        {
            Set(DescriptorAttribute.BiasPointer, bias);
        }

        return descriptor;

        void Set<T>(DescriptorAttribute attribute, T value) where T : unmanaged =>
            CublasLtApi.Check(api.DescriptorSet(descriptor.handle, attribute, &value, (nuint)sizeof(T)), $"setting {attribute}");
    }

    /// <summary>A matrix by columns.</summary>
    public static LtObject Layout(CublasLtApi api, DataType type, long rows, long columns, long stride)
    {
        nint handle;
        CublasLtApi.Check(api.LayoutCreate(&handle, type, (ulong)rows, (ulong)columns, stride), "cublasLtMatrixLayoutCreate");
        return new(handle, api.LayoutDestroy);
    }

    /// <summary>Algorithms that need no more workspace than there is, no better alignment than 16 bytes and no second pass of
    /// sums.</summary>
    public static LtObject Preference(CublasLtApi api, long workspaceBytes)
    {
        nint handle;
        CublasLtApi.Check(api.PreferenceCreate(&handle), "cublasLtMatmulPreferenceCreate");
        var preference = new LtObject(handle, api.PreferenceDestroy);
        Set(PreferenceAttribute.MaximumWorkspaceBytes, (ulong)workspaceBytes);
        Set(PreferenceAttribute.ReductionSchemes, 0u);
        foreach (PreferenceAttribute attribute in (ReadOnlySpan<PreferenceAttribute>)
        [
            PreferenceAttribute.MinimumAlignmentA, PreferenceAttribute.MinimumAlignmentB,
            PreferenceAttribute.MinimumAlignmentC, PreferenceAttribute.MinimumAlignmentD,
        ])
        {
            Set(attribute, (uint)LtProducts.Alignment);
        }

        return preference;

        void Set<T>(PreferenceAttribute attribute, T value) where T : unmanaged =>
            CublasLtApi.Check(api.PreferenceSet(preference.handle, attribute, &value, (nuint)sizeof(T)), $"setting {attribute}");
    }

    protected override bool ReleaseHandle() => _destroy(handle) == CublasStatus.Success;
}
