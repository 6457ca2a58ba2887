using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Cpu;

/// <summary>As ik_status.</summary>
internal enum Status
{
    Ok,
    OutOfMemory,
    InstructionSetNotPresent,
    IndexOutOfRange,
}

/// <summary>The C ABI of the native library, and the check that it is the one this assembly was built for.</summary>
internal static unsafe partial class NativeMethods
{
    public const int AbiVersion = 6;
    private const string Library = "interp_kernels";

    private static readonly Lazy<string?> s_defect = new(FindDefect);

    /// <summary>Argument structs in the order of IK_OPS.</summary>
    private static readonly int[] s_structSizes =
    [
        Unsafe.SizeOf<MatMulArgs>(), Unsafe.SizeOf<MatMulTransposedArgs>(), Unsafe.SizeOf<NormArgs>(), Unsafe.SizeOf<AttentionArgs>(),
        Unsafe.SizeOf<RotaryArgs>(), Unsafe.SizeOf<EmbedArgs>(), Unsafe.SizeOf<AddArgs>(), Unsafe.SizeOf<ActivateArgs>(),
        Unsafe.SizeOf<MapArgs>(),
        Unsafe.SizeOf<CopyArgs>(), Unsafe.SizeOf<FillArgs>(), Unsafe.SizeOf<RepeatHeadsArgs>(), Unsafe.SizeOf<SumHeadsArgs>(),
        Unsafe.SizeOf<LogProbabilityArgs>(), Unsafe.SizeOf<LogSoftmaxArgs>(), Unsafe.SizeOf<TopKArgs>(), Unsafe.SizeOf<RouteArgs>(),
        Unsafe.SizeOf<GatherRowsArgs>(), Unsafe.SizeOf<CombineRowsArgs>(), Unsafe.SizeOf<ClampedSwigluArgs>(), Unsafe.SizeOf<PackArgs>(),
        Unsafe.SizeOf<EvaluateArgs>(), Unsafe.SizeOf<SparseEncodeArgs>(), Unsafe.SizeOf<SparseProductArgs>(), Unsafe.SizeOf<SparseDotsArgs>(),
        Unsafe.SizeOf<SparseTransposeArgs>(), Unsafe.SizeOf<ColumnStatisticsArgs>(), Unsafe.SizeOf<ProjectGradientArgs>(),
        Unsafe.SizeOf<AdamStepArgs>(), Unsafe.SizeOf<SignStepArgs>(),
    ];

    /// <summary>Why the library cannot be used; null where it can.</summary>
    public static string? Defect => s_defect.Value;

    private static string? FindDefect()
    {
        try
        {
            int version = ik_abi_version();
            if (version != AbiVersion)
            {
                return $"the native library {Library} has ABI version {version}; expected {AbiVersion}";
            }

            for (int op = 0; op <= s_structSizes.Length; op++)
            {
                long native = ik_struct_size(op), managed = op < s_structSizes.Length ? s_structSizes[op] : -1;
                if (native != managed)
                {
                    return $"the arguments of op {op} have {native} bytes in the native library {Library}; expected {managed}";
                }
            }

            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            return $"the native library {Library} cannot be loaded: {e.Message}";
        }
    }

    [LibraryImport(Library)]
    private static partial int ik_abi_version();

    [LibraryImport(Library)]
    private static partial long ik_struct_size(int op);

    [LibraryImport(Library)]
    public static partial int ik_isa_present(int isa);

    [LibraryImport(Library)]
    public static partial Status ik_context_create(int threads, int isa, out nint context);

    [LibraryImport(Library)]
    public static partial void ik_context_destroy(nint context);

    [LibraryImport(Library)]
    public static partial int ik_context_threads(ContextHandle context);

    [LibraryImport(Library)]
    public static partial nint ik_weight_allocate(long bytes);

    [LibraryImport(Library)]
    public static partial void ik_weight_free(nint memory, long bytes);

    [LibraryImport(Library)]
    public static partial Status ik_measure_flops(ContextHandle context, int type, out double gflops);

    [LibraryImport(Library)]
    public static partial Status ik_measure_bandwidth(ContextHandle context, out double gigabytes);

    [LibraryImport(Library)]
    public static partial Status ik_matmul(ContextHandle context, MatMulArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_matmul_transposed(ContextHandle context, MatMulTransposedArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_norm(ContextHandle context, NormArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_attention(ContextHandle context, AttentionArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_rotary(ContextHandle context, RotaryArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_embed(ContextHandle context, EmbedArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_add(ContextHandle context, AddArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_activate(ContextHandle context, ActivateArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_map(ContextHandle context, MapArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_copy(ContextHandle context, CopyArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_fill(ContextHandle context, FillArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_repeat_heads(ContextHandle context, RepeatHeadsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sum_heads(ContextHandle context, SumHeadsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_log_probability(ContextHandle context, LogProbabilityArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_log_softmax(ContextHandle context, LogSoftmaxArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_top_k(ContextHandle context, TopKArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_route(ContextHandle context, RouteArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_gather_rows(ContextHandle context, GatherRowsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_combine_rows(ContextHandle context, CombineRowsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_clamped_swiglu(ContextHandle context, ClampedSwigluArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_pack(ContextHandle context, PackArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_evaluate(ContextHandle context, EvaluateArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sparse_encode(ContextHandle context, SparseEncodeArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sparse_product(ContextHandle context, SparseProductArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sparse_dots(ContextHandle context, SparseDotsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sparse_transpose(ContextHandle context, SparseTransposeArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_column_statistics(ContextHandle context, ColumnStatisticsArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_project_gradient(ContextHandle context, ProjectGradientArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_adam_step(ContextHandle context, AdamStepArgs* args);

    [LibraryImport(Library)]
    public static partial Status ik_sign_step(ContextHandle context, SignStepArgs* args);
}

/// <summary>Threads and instruction set of one device, in the library.</summary>
internal sealed class ContextHandle : SafeHandle
{
    public ContextHandle(nint context) : base(0, ownsHandle: true) => SetHandle(context);

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.ik_context_destroy(handle);
        return true;
    }
}
