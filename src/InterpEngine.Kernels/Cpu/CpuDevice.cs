using System.Runtime.CompilerServices;

namespace InterpEngine.Kernels.Cpu;

/// <summary>Computes with the native library, on all CPUs that the process may use. May be shared by threads.</summary>
public sealed unsafe partial class CpuDevice : HostDevice
{
    private const int MaximumThreads = 1024;
    private const long LargeBuffer = 4 << 20;
    private readonly ContextHandle _context;

    /// <summary>Starts the device's threads.</summary>
    /// <param name="threads">Threads to compute with; 0 for as many as the process may use.</param>
    /// <param name="set">What to compute with; null for what the environment variable INTERP_ISA names (scalar, avx2, avx512, avx512bf16, amx), or
    /// the widest present.</param>
    /// <exception cref="DeviceException">The library cannot be used, the instruction set is not present, or threads cannot
    /// start.</exception>
    public CpuDevice(int threads = 0, InstructionSet? set = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(threads, MaximumThreads);
        if (NativeMethods.Defect is { } defect)
        {
            throw new DeviceException(
                $"The native CPU kernels cannot be used: {defect}.",
                "Rebuild the solution with CMake and a C++20 compiler installed, or compute with Device.Reference().");
        }

        InstructionSet = set ?? FromEnvironment() ?? InstructionSets[^1];
        if (!InstructionSets.Contains(InstructionSet))
        {
            throw Absent(InstructionSet.ToString());
        }

        if (NativeMethods.ik_context_create(threads, (int)InstructionSet, out nint context) != Status.Ok)
        {
            throw new DeviceException($"{threads} threads cannot be started.", "Ask for fewer threads.");
        }

        _context = new ContextHandle(context);
        Threads = NativeMethods.ik_context_threads(_context);
        Name = $"cpu ({NameOf(InstructionSet)}, {Threads} {(Threads == 1 ? "thread" : "threads")})";
    }

    /// <summary>Whether the library can be loaded and is the one that this assembly was built for. Never throws.</summary>
    public static bool IsAvailable => NativeMethods.Defect is null;

    /// <summary>Why the library cannot be used; null where it can. Never throws.</summary>
    public static string? Defect => NativeMethods.Defect;

    /// <summary>The version of the library's interface that this assembly was built for.</summary>
    public static int AbiVersion => NativeMethods.AbiVersion;

    /// <summary>What this machine, its operating system and the library all support, narrowest first; empty where the library cannot
    /// be used.</summary>
    public static IReadOnlyList<InstructionSet> InstructionSets { get; } = IsAvailable
        ? [.. Enum.GetValues<InstructionSet>().Where(set => NativeMethods.ik_isa_present((int)set) != 0)]
        : [];

    /// <inheritdoc/>
    public override string Name { get; }

    /// <summary>Threads that compute, the caller's among them. Results do not depend on it.</summary>
    public int Threads { get; }

    /// <summary>What the kernels are compiled for. Results do not depend on it, but for products with BF16 weights.</summary>
    public InstructionSet InstructionSet { get; }

    /// <summary>Measures the peak rate of multiply-adds for about 0.3 s, in GFLOP/s.</summary>
    /// <param name="type">BF16 for products of BF16 numbers summed in fp32; else fp32.</param>
    public double MeasureGigaflops(ElementType type = ElementType.F32)
    {
        ThrowOnFailure(NativeMethods.ik_measure_flops(_context, (int)type, out double gigaflops), nameof(MeasureGigaflops));
        return gigaflops;
    }

    /// <summary>Measures the rate of memory reads for about 0.3 s, in GB/s.</summary>
    public double MeasureBandwidth()
    {
        ThrowOnFailure(NativeMethods.ik_measure_bandwidth(_context, out double gigabytes), nameof(MeasureBandwidth));
        return gigabytes;
    }

    /// <inheritdoc/>
    public override int PackThreads => Threads;

    /// <inheritdoc/>
    public override int PackBytes => 512 << 10; // half of a second-level cache

    /// <inheritdoc/>
    public override Weight CreateWeight(int inner, int columns, ElementType type = ElementType.F32) =>
        new PackedWeight(type, inner, columns);

    /// <inheritdoc/>
    public override void Pack(Weight weight, in WeightBlock block)
    {
        ArgumentNullException.ThrowIfNull(weight);
        block.Check(weight);
        var args = new PackArgs
        {
            Source = block.Address,
            Weight = new NativeWeight(weight),
            Inner = block.Inner,
            Columns = block.Columns,
            InnerStride = block.InnerStride,
            ColumnStride = block.ColumnStride,
            InnerStart = block.InnerStart,
            ColumnStart = block.ColumnStart,
            Type = (int)block.Type,
            Alone = block.Alone ? 1 : 0,
        };
        Finish(NativeMethods.ik_pack(_context, &args), nameof(Pack), in weight);
    }

    /// <inheritdoc/>
    public override Tensor AllocateOnce(ElementType type, params ReadOnlySpan<int> axes)
    {
        var shape = new Shape(axes);
        long bytes = checked(shape.Count * type.Size());
        return bytes < LargeBuffer ? Allocate(type, axes) : new(Arena.RentOnce(bytes), 0, type, shape);
    }

    /// <summary>Large buffers come in large pages: what gathers rows from them would wait for the TLB otherwise.</summary>
    internal override nint AllocateMemory(long bytes)
    {
        nint address = bytes < LargeBuffer ? base.AllocateMemory(bytes) : NativeMethods.ik_weight_allocate(bytes);
        return address != 0 ? address : throw OutOfMemory(bytes);
    }

    internal override void FreeMemory(nint address, long bytes)
    {
        if (bytes < LargeBuffer)
        {
            base.FreeMemory(address, bytes);
        }
        else
        {
            NativeMethods.ik_weight_free(address, bytes);
        }
    }

    /// <summary>An elementary function of every element, for the tests of its accuracy.</summary>
    internal void Evaluate(int function, ReadOnlySpan<float> x, Span<float> result)
    {
        fixed (float* from = x, to = result)
        {
            var args = new EvaluateArgs { X = (nint)from, Out = (nint)to, Count = x.Length, Function = function };
            ThrowOnFailure(NativeMethods.ik_evaluate(_context, &args), nameof(Evaluate));
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _context.Dispose();
    }

    private static InstructionSet? FromEnvironment()
    {
        string? name = Environment.GetEnvironmentVariable("INTERP_ISA");
        if (string.IsNullOrEmpty(name))
        {
            return null;
        }

        foreach (InstructionSet set in InstructionSets)
        {
            if (NameOf(set) == name)
            {
                return set;
            }
        }

        throw Absent($"{name}, which the environment variable INTERP_ISA names,");
    }

    private static DeviceException Absent(string what) => new(
        $"The instruction set {what} is not present; this machine and this build have {string.Join(", ", InstructionSets.Select(NameOf))}.",
        "Choose one of these, or none for the widest.");

    private static string NameOf(InstructionSet set) => set.ToString().ToLowerInvariant();

    /// <summary>Ends an op: its tensors and weights were alive until here, whatever the garbage collector thinks.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Finish<T>(Status status, string name, in T op)
    {
        _ = Unsafe.AsPointer(ref Unsafe.AsRef(in op));
        ThrowOnFailure(status, name);
    }

    private static void ThrowOnFailure(Status status, string op)
    {
        if (status == Status.IndexOutOfRange)
        {
            throw new ArgumentException($"{op}: an index lies past the end of its table.");
        }

        if (status != Status.Ok)
        {
            throw new DeviceException($"{op}: there is no memory for the threads' working space.", "Use shorter sequences.");
        }
    }
}
