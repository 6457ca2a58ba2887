using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Gpu.CublasLt;

/// <summary>
/// The functions of cuBLASLt that the engine calls, as its header declares them for CUDA 11.4 to 13. The library is the user's:
/// it is looked for when a GPU is opened, and where it is absent the engine computes products by its own kernels.
/// </summary>
internal sealed unsafe class CublasLtApi
{
    private static readonly Lazy<(CublasLtApi? Api, string? Defect)> s_loaded =
        new(() => Load(Names(OperatingSystem.IsWindows())));

    /// <summary>Takes the functions from wherever they are; the tests have a library of their own.</summary>
    public CublasLtApi(string name, Func<string, nint> export)
    {
        Name = name;
        Create = (delegate* unmanaged<nint*, CublasStatus>)export("cublasLtCreate");
        Destroy = (delegate* unmanaged<nint, CublasStatus>)export("cublasLtDestroy");
        Version = (delegate* unmanaged<nuint>)export("cublasLtGetVersion");
        DescriptorCreate = (delegate* unmanaged<nint*, ComputeType, DataType, CublasStatus>)export("cublasLtMatmulDescCreate");
        DescriptorDestroy = (delegate* unmanaged<nint, CublasStatus>)export("cublasLtMatmulDescDestroy");
        DescriptorSet = (delegate* unmanaged<nint, DescriptorAttribute, void*, nuint, CublasStatus>)export(
            "cublasLtMatmulDescSetAttribute");
        LayoutCreate = (delegate* unmanaged<nint*, DataType, ulong, ulong, long, CublasStatus>)export(
            "cublasLtMatrixLayoutCreate");
        LayoutDestroy = (delegate* unmanaged<nint, CublasStatus>)export("cublasLtMatrixLayoutDestroy");
        PreferenceCreate = (delegate* unmanaged<nint*, CublasStatus>)export("cublasLtMatmulPreferenceCreate");
        PreferenceDestroy = (delegate* unmanaged<nint, CublasStatus>)export("cublasLtMatmulPreferenceDestroy");
        PreferenceSet = (delegate* unmanaged<nint, PreferenceAttribute, void*, nuint, CublasStatus>)export(
            "cublasLtMatmulPreferenceSetAttribute");
        GetHeuristic = (delegate* unmanaged<nint, nint, nint, nint, nint, nint, nint, int, Heuristic*, int*, CublasStatus>)export(
            "cublasLtMatmulAlgoGetHeuristic");
        AlgorithmSet = (delegate* unmanaged<Algorithm*, AlgorithmAttribute, void*, nuint, CublasStatus>)export(
            "cublasLtMatmulAlgoConfigSetAttribute");
        AlgorithmCheck = (delegate* unmanaged<nint, nint, nint, nint, nint, nint, Algorithm*, Heuristic*, CublasStatus>)export(
            "cublasLtMatmulAlgoCheck");
        Multiply = (delegate* unmanaged<nint, nint, void*, nint, nint, nint, nint, void*, nint, nint, nint, nint, Algorithm*,
            nint, nuint,
            nint, CublasStatus>)export("cublasLtMatmul");
    }

    /// <summary>The library; null where it is absent. Never throws.</summary>
    public static CublasLtApi? Loaded => s_loaded.Value.Api;

    /// <summary>Why the library cannot be used; null where it can. Never throws.</summary>
    public static string? Defect => s_loaded.Value.Defect;

    /// <summary>The name under which it was found.</summary>
    public string Name { get; }

    public readonly delegate* unmanaged<nint*, CublasStatus> Create;
    public readonly delegate* unmanaged<nint, CublasStatus> Destroy;
    public readonly delegate* unmanaged<nuint> Version;
    public readonly delegate* unmanaged<nint*, ComputeType, DataType, CublasStatus> DescriptorCreate;
    public readonly delegate* unmanaged<nint, CublasStatus> DescriptorDestroy;
    public readonly delegate* unmanaged<nint, DescriptorAttribute, void*, nuint, CublasStatus> DescriptorSet;
    public readonly delegate* unmanaged<nint*, DataType, ulong, ulong, long, CublasStatus> LayoutCreate;
    public readonly delegate* unmanaged<nint, CublasStatus> LayoutDestroy;
    public readonly delegate* unmanaged<nint*, CublasStatus> PreferenceCreate;
    public readonly delegate* unmanaged<nint, CublasStatus> PreferenceDestroy;
    public readonly delegate* unmanaged<nint, PreferenceAttribute, void*, nuint, CublasStatus> PreferenceSet;

    /// <summary>(library, descriptor, A, B, C, D, preference, wanted, results, found).</summary>
    public readonly delegate* unmanaged<nint, nint, nint, nint, nint, nint, nint, int, Heuristic*, int*,
        CublasStatus> GetHeuristic;
    public readonly delegate* unmanaged<Algorithm*, AlgorithmAttribute, void*, nuint, CublasStatus> AlgorithmSet;

    /// <summary>(library, descriptor, A, B, C, D, algorithm, result).</summary>
    public readonly delegate* unmanaged<nint, nint, nint, nint, nint, nint, Algorithm*, Heuristic*, CublasStatus> AlgorithmCheck;

    /// <summary>(library, descriptor, alpha, A, its layout, B, its layout, beta, C, its layout, D, its layout, algorithm,
    /// workspace, its bytes, stream).</summary>
    public readonly delegate* unmanaged<nint, nint, void*, nint, nint, nint, nint, void*, nint, nint, nint, nint, Algorithm*,
        nint, nuint,
        nint, CublasStatus> Multiply;

    /// <summary>What the library is called, newest CUDA version first.</summary>
    public static IReadOnlyList<string> Names(bool windows) => windows
        ? ["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"]
        : ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"];

    /// <summary>The first of the libraries that can be loaded and has all functions, or why none can. Never throws.</summary>
    public static (CublasLtApi? Api, string? Defect) Load(IReadOnlyList<string> names)
    {
        string? defect = null;
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint library))
            {
                try
                {
                    return (new CublasLtApi(name, function => NativeLibrary.GetExport(library, function)), null);
                }
                catch (EntryPointNotFoundException e)
                {
                    NativeLibrary.Free(library);
                    defect ??= $"{name} lacks a function: {e.Message}";
                }
            }
        }

        return (null, defect ?? $"none of {string.Join(", ", names)} can be loaded");
    }

    /// <summary>Turns a status into its error.</summary>
    public static void Check(CublasStatus status, string call)
    {
        if (status != CublasStatus.Success)
        {
            throw new CublasLtException(call, status);
        }
    }
}
