namespace InterpEngine.Kernels;

/// <summary>
/// Something that computes: memory and one implementation of every op. The ops' contracts are in Ops/, one file a family; each file
/// adds its op to this class. Devices may be shared by models and threads.
/// </summary>
/// <remarks>
/// The tree of sums: an op that says "16 lanes, then the tree" keeps 16 partial sums s₀ … s₁₅, each begun at +0, and adds them as
/// sᵢ + sᵢ₊₈ for i &lt; 8, then sᵢ + sᵢ₊₄ for i &lt; 4, sᵢ + sᵢ₊₂ for i &lt; 2, s₀ + s₁. The reference device sums in double precision instead.
/// </remarks>
public abstract partial class Device : IDisposable
{
    /// <summary>Creates the device's arena.</summary>
    protected Device() => Arena = new Arena(this);

    /// <summary>What it is, such as "cpu (avx512, 2 threads)".</summary>
    public abstract string Name { get; }

    /// <summary>The memory of its tensors.</summary>
    public Arena Arena { get; }

    /// <summary>The native CPU kernels where the library can be loaded, else the plain C# reference.</summary>
    /// <param name="threads">Threads to compute with; 0 for as many as the process may use. Results do not depend on it.</param>
    /// <param name="instructionSet">The widest instruction set to use; null for the widest present (or the one that the environment
    /// variable INTERP_ISA names). Results do not depend on it, but for products with BF16 weights.</param>
    /// <exception cref="DeviceException">The instruction set is not present on this machine.</exception>
    public static Device Cpu(int threads = 0, InstructionSet? instructionSet = null) =>
        Kernels.Cpu.CpuDevice.IsAvailable ? new Kernels.Cpu.CpuDevice(threads, instructionSet) : new Kernels.Reference.ReferenceDevice();

    /// <summary>The oracle: every op in plain C# with double accumulation. Slow, and the same on every machine.</summary>
    public static Device Reference() => new Kernels.Reference.ReferenceDevice();

    /// <summary>An NVIDIA GPU, of the Ampere generation or newer.</summary>
    /// <param name="index">Its number, as CUDA counts; <see cref="Kernels.Gpu.CudaGpu.All"/> lists them.</param>
    /// <param name="options">How it computes; null for the usual way.</param>
    /// <exception cref="DeviceException">There is no driver or no such GPU, or it is too old or cannot be opened.</exception>
    public static Device Cuda(int index = 0, Kernels.Gpu.CudaOptions? options = null)
    {
        Kernels.Gpu.GpuPlatform platform = Kernels.Gpu.CudaPlatform.Create(Kernels.Gpu.CudaGpu.Find(index));
        try
        {
            return new Kernels.Gpu.GpuDevice(platform, options);
        }
        catch (InterpException)
        {
            platform.Dispose();
            throw;
        }
    }

    /// <summary>The first GPU that the engine can use, else the CPU. Its <see cref="Name"/> says what it is.</summary>
    /// <exception cref="DeviceException">The GPU cannot be opened.</exception>
    public static Device Best() =>
        Kernels.Gpu.CudaGpu.All.FirstOrDefault(gpu => gpu.Defect is null) is { } gpu ? Cuda(gpu.Index) : Cpu();

    /// <summary>A tensor whose elements are not set.</summary>
    public Tensor Allocate(ElementType type, params ReadOnlySpan<int> axes) => Allocate(type, new Shape(axes));

    /// <summary>A tensor whose elements are not set.</summary>
    public Tensor Allocate(ElementType type, Shape shape)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return new(Arena.Rent(checked(shape.Count * type.Size())), 0, type, shape);
    }

    /// <summary>A tensor whose elements are not set, and whose memory is given back when it is disposed, where that costs little, instead of being
    /// kept for the next one: for what is large and needed now and then.</summary>
    public virtual Tensor AllocateOnce(ElementType type, params ReadOnlySpan<int> axes) => Allocate(type, axes);

    /// <summary>A tensor with a copy of the given elements.</summary>
    /// <typeparam name="T">The .NET counterpart of the element type.</typeparam>
    public Tensor Upload<T>(ReadOnlySpan<T> elements, params ReadOnlySpan<int> axes) where T : unmanaged
    {
        Tensor tensor = Allocate(ElementTypes.Of<T>(), axes);
        tensor.CopyFrom(elements);
        return tensor;
    }

    /// <summary>An empty weight matrix, all zeros, to be filled with <see cref="Pack"/>.</summary>
    /// <param name="inner">Inner length K of the product: inputs.</param>
    /// <param name="columns">Columns N of the product: outputs.</param>
    /// <param name="type">How elements are kept: F32, BF16 or I8; see <see cref="Weight"/>.</param>
    /// <exception cref="DeviceException">There is no memory for it.</exception>
    public abstract Weight CreateWeight(int inner, int columns, ElementType type = ElementType.F32);

    /// <summary>From how many threads blocks with <see cref="WeightBlock.Alone"/> are best packed at the same time.</summary>
    public virtual int PackThreads => 1;

    /// <summary>About how many bytes of a checkpoint are best packed at a time.</summary>
    public virtual int PackBytes => 8 << 20;

    /// <summary>Copies a block of a checkpoint's matrix into a weight, converting and reordering it on the way.</summary>
    public abstract void Pack(Weight weight, in WeightBlock block);

    /// <summary>Whether <see cref="Record"/> is worth its while: launching ops takes longer than short ones run.</summary>
    public virtual bool LikesRecordings => false;

    /// <summary>Records ops that will be done again and again with another input.</summary>
    /// <param name="input">I32: filled before each run.</param>
    /// <param name="body">The ops. It reads nothing back, and returns outputs, which the recording takes over. A device may call it once, or
    /// for every run.</param>
    public virtual Recording Record(Tensor input, Func<Tensor[]> body) => new BodyRecording(input, body);

    /// <summary>Marks what was asked for until now. Results of it can be read through the mark, by another thread too, without waiting for
    /// what is asked for later (<see cref="Tensor.CopyTo{T}(Span{T}, DeviceMark)"/>).</summary>
    /// <exception cref="DeviceException">The device failed meanwhile.</exception>
    public virtual DeviceMark Mark() => new();

    /// <summary>Waits until everything that was asked for is computed. Devices that compute at once have nothing to wait for.</summary>
    /// <exception cref="DeviceException">The device failed meanwhile.</exception>
    public virtual void Synchronize()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!IsDisposed)
        {
            IsDisposed = true;
            Dispose(true);
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>Whether the device is disposed; tensors on it must not be used any more.</summary>
    protected bool IsDisposed { get; private set; }

    /// <summary>Frees what the device holds; memory of tensors that still live is freed with them.</summary>
    protected virtual void Dispose(bool disposing) => Arena.Close();

    internal abstract nint AllocateMemory(long bytes);

    internal abstract void FreeMemory(nint address, long bytes);

    internal abstract void Upload(ReadOnlySpan<byte> source, Tensor destination);

    internal abstract void Download(Tensor source, Span<byte> destination);
}
