using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Computes with kernels in C#, compiled by ILGPU. Ops are queued: what is read back waits for them. May be shared by threads.
/// </summary>
/// <remarks>
/// Sums run in as many lanes as a group has threads, then a fixed tree. An index past the end of its table is reported when results
/// are read next; until then it counts as a negative one.
/// </remarks>
public sealed partial class GpuDevice : Device
{
    private readonly GpuPlatform _platform;
    private readonly nint _faults;
    private volatile bool _indexed;

    internal GpuDevice(GpuPlatform platform, CudaOptions? options = null)
    {
        _platform = platform;
        Options = options ?? new CudaOptions();
        _faults = AllocateMemory(sizeof(int));
        platform.Clear(_faults, sizeof(int));
        try
        {
            Products = [.. TensorCoreProducts(), new PlainProduct(this)];
        }
        catch (InterpException)
        {
            platform.Free(_faults, sizeof(int));
            throw;
        }
    }

    /// <inheritdoc/>
    public override string Name => _platform.Name;

    /// <summary>The accelerator, its stream and its kernels.</summary>
    internal GpuPlatform Platform => _platform;

    /// <summary>Ways of making products, the preferred first. The last takes everything.</summary>
    internal IReadOnlyList<IProduct> Products { get; }

    /// <summary>How it was asked to compute.</summary>
    internal CudaOptions Options { get; }

    /// <summary>Why products do not go through cuBLASLt; null where they do.</summary>
    public string? CublasLtDefect { get; private set; }

    /// <inheritdoc/>
    public override void Synchronize()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        _platform.Synchronize();
        ReportFaults();
    }

    /// <inheritdoc/>
    public override bool LikesRecordings => true;

    /// <inheritdoc/>
    public override Recording Record(Tensor input, Func<Tensor[]> body)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return _platform switch
        {
            CudaPlatform cuda => new Graphs.GraphRecording(this, cuda, input, body),
            SimulatedPlatform simulated => base.Record(input, () => simulated.Record(body)),
            _ => base.Record(input, body),
        };
    }

    /// <inheritdoc/>
    public override DeviceMark Mark()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return _platform.Mark() ?? base.Mark();
    }

    internal override nint AllocateMemory(long bytes)
    {
        nint address = _platform.Allocate(bytes);
        if (address == 0)
        {
            Arena.Trim(); // what other sizes hold may be enough
            address = _platform.Allocate(bytes);
        }

        return address != 0 ? address : throw OutOfMemory($"a buffer of {bytes:N0} bytes");
    }

    internal override void FreeMemory(nint address, long bytes) => _platform.Free(address, bytes);

    internal override void Upload(ReadOnlySpan<byte> source, Tensor destination)
    {
        _platform.Write(source, destination.Address);
        GC.KeepAlive(destination);
    }

    internal override void Download(Tensor source, Span<byte> destination)
    {
        _platform.Read(source.Address, destination);
        GC.KeepAlive(source);
        ReportFaults();
    }

    /// <summary>The error for memory that is not there.</summary>
    internal DeviceException OutOfMemory(string what)
    {
        (long free, long total) = _platform.MemoryInfo();
        string there = total > 0 ? $" {free:N0} of {total:N0} bytes are free;" : "";
        return new DeviceException(
            $"{Name} has no memory for {what};{there} {Arena.ReservedBytes:N0} bytes are held for tensors.",
            "Use a smaller model, a smaller batch or shorter sequences, keep weights in BF16 or I8, capture less, or use another GPU.");
    }

    /// <summary>The kernel of a method.</summary>
    internal Kernel<TLauncher> Load<TLauncher>(Delegate method) where TLauncher : Delegate
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return _platform.Kernels.Load<TLauncher>(method);
    }

    /// <summary>Where the kernels' launches go.</summary>
    internal AcceleratorStream Stream => _platform.Stream;

    /// <summary>All of a tensor, for a kernel.</summary>
    internal ArrayView<T> View<T>(Tensor tensor) where T : unmanaged
    {
        Own(tensor);
        return _platform.View<T>(tensor.Address, tensor.Shape.Count);
    }

    /// <summary>All of a tensor, or an empty view where it is not given.</summary>
    internal ArrayView<float> ViewOrEmpty(Tensor? tensor) => tensor is null ? default : View<float>(tensor);

    /// <summary>From the first element of a matrix to its last.</summary>
    internal ArrayView<float> View(in Matrix matrix)
    {
        Own(matrix.Tensor);
        bool empty = matrix.Rows == 0 || matrix.Columns == 0;
        return _platform.View<float>(matrix.Address, empty ? 0 : (matrix.Rows - 1) * matrix.Stride + matrix.Columns);
    }

    /// <summary>A matrix that may be BF16: one of the two views, the other being empty.</summary>
    internal (ArrayView<float> Wide, ArrayView<ushort> Narrow) Views(in Matrix matrix)
    {
        if (matrix.Tensor.Type != ElementType.BF16)
        {
            return (View(in matrix), default);
        }

        Own(matrix.Tensor);
        bool empty = matrix.Rows == 0 || matrix.Columns == 0;
        return (default, _platform.View<ushort>(matrix.Address, empty ? 0 : (matrix.Rows - 1) * matrix.Stride + matrix.Columns));
    }

    /// <summary>Whether all matrices that are given lie so that four neighbours can be read and written at once.</summary>
    internal static bool IsAligned(int columns, params ReadOnlySpan<Matrix?> matrices)
    {
        foreach (Matrix? matrix in matrices)
        {
            if (matrix is { } given && (given.Address % (4 * given.Tensor.Type.Size()) != 0 || given.Stride % 4 != 0))
            {
                return false;
            }
        }

        return columns % 4 == 0;
    }

    /// <summary>The same for vectors.</summary>
    internal static bool AreAligned(Tensor? first, Tensor? second = null) =>
        first?.Address % 16 is null or 0 && second?.Address % 16 is null or 0;

    /// <summary>A matrix, or an empty view where it is not given.</summary>
    internal ArrayView<float> ViewOrEmpty(in Matrix? matrix) => matrix is { } given ? View(in given) : default;

    /// <summary>Where a kernel that meets an index past its table leaves the op's number.</summary>
    internal ArrayView<int> Faults
    {
        get
        {
            _indexed = true;
            return _platform.View<int>(_faults, 1);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _platform.Free(_faults, sizeof(int));
        foreach (IProduct product in Products)
        {
            product.Dispose();
        }

        _platform.Dispose();
    }

    private IEnumerable<IProduct> TensorCoreProducts()
    {
        if (Options.Products == ProductLibrary.Own)
        {
            CublasLtDefect = "the engine's own products were asked for";
        }
        else if (_platform is not CudaPlatform cuda)
        {
            CublasLtDefect = "this is no NVIDIA GPU";
        }
        else if (CublasLtProduct.Open(this, cuda, Options.Tf32, out string? defect) is { } product)
        {
            yield return product;
        }
        else
        {
            CublasLtDefect = defect;
        }

        if (TensorProduct.RunsOn(_platform))
        {
            yield return new TensorProduct(this, Options.Tf32);
        }
    }

    /// <summary>Ends an op: its tensors were alive until here, whatever the garbage collector thinks.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe void Finish<T>(in T op) => _ = Unsafe.AsPointer(ref Unsafe.AsRef(in op));

    private void Own(Tensor tensor)
    {
        if (tensor.Device != this)
        {
            throw new ArgumentException($"A tensor on {tensor.Device.Name} cannot be read by {Name}.");
        }
    }

    private void ReportFaults()
    {
        if (!_indexed)
        {
            return;
        }

        _indexed = false;
        Span<int> fault = [0];
        _platform.Read(_faults, System.Runtime.InteropServices.MemoryMarshal.AsBytes(fault));
        ReportFault(fault[0]);
    }

    /// <summary>Where an op's number lies that met a bad index.</summary>
    internal nint FaultAddress => _faults;

    /// <summary>Throws if there was a fault, and forgets it.</summary>
    internal void ReportFault(int fault)
    {
        if (fault != 0)
        {
            _platform.Clear(_faults, sizeof(int));
            if (fault == (int)IndexedOp.TooManySurvivors)
            {
                throw TooManySurvivors();
            }

            throw new ArgumentException($"{(IndexedOp)fault}: an index lies past the end of its table or cache.");
        }
    }
}
