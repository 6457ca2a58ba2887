using System.Runtime.InteropServices;

namespace InterpEngine.Kernels;

/// <summary>
/// A dense, row-major array on one device. Several tensors may share memory (<see cref="Share"/>, <see cref="Slice"/>,
/// <see cref="Reshape"/>); the memory goes back to the device's arena when the last of them is disposed.
/// </summary>
public sealed class Tensor : IDisposable
{
    private readonly MemoryBlock _block;
    private readonly long _offset;
    private int _disposed;

    internal Tensor(MemoryBlock block, long offset, ElementType type, Shape shape)
    {
        _block = block;
        _offset = offset;
        Type = type;
        Shape = shape;
    }

    /// <summary>What one element is.</summary>
    public ElementType Type { get; }

    /// <summary>The axes.</summary>
    public Shape Shape { get; }

    /// <summary>Where the memory is.</summary>
    public Device Device => _block.Arena.Device;

    /// <summary>Size of the elements in bytes.</summary>
    public long Bytes => Shape.Count * Type.Size();

    /// <summary>The address of the first element: host memory on CPU devices, device memory on GPUs.</summary>
    /// <exception cref="ObjectDisposedException">The tensor is disposed.</exception>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed != 0, this);
            return (nint)(_block.Address + _offset);
        }
    }

    /// <summary>Another handle on the same memory, with its own life.</summary>
    public Tensor Share() => View(0, Shape);

    /// <summary>Elements [start, start + length) of the first axis, on the same memory.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie in the axis, or the tensor is a scalar.</exception>
    public Tensor Slice(int start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfZero(Shape.Rank, nameof(Shape));
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, Shape[0] - length);
        long inner = Shape[0] == 0 ? 0 : Shape.Count / Shape[0];
        return View(start * inner, new Shape([length, .. Shape.Axes[1..]]));
    }

    /// <summary>The same elements under other axes, on the same memory.</summary>
    /// <exception cref="ArgumentException">The element counts differ.</exception>
    public Tensor Reshape(params ReadOnlySpan<int> axes)
    {
        var shape = new Shape(axes);
        return shape.Count == Shape.Count
            ? View(0, shape)
            : throw new ArgumentException($"A tensor of {Shape} cannot be seen as {shape}: the element counts differ.", nameof(axes));
    }

    /// <summary>Copies all elements to the host.</summary>
    /// <typeparam name="T">The .NET counterpart of <see cref="Type"/>.</typeparam>
    /// <exception cref="ArgumentException">The types or the lengths do not match.</exception>
    public void CopyTo<T>(Span<T> destination) where T : unmanaged
    {
        CheckElement<T>(destination.Length);
        Device.Download(this, MemoryMarshal.AsBytes(destination));
    }

    /// <summary>Copies all elements to the host; they were complete by a mark of the same device.</summary>
    /// <typeparam name="T">The .NET counterpart of <see cref="Type"/>.</typeparam>
    /// <exception cref="ArgumentException">The types or the lengths do not match.</exception>
    public void CopyTo<T>(Span<T> destination, DeviceMark mark) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(mark);
        CheckElement<T>(destination.Length);
        mark.Download(this, MemoryMarshal.AsBytes(destination));
    }

    /// <summary>Fills the tensor from the host.</summary>
    /// <typeparam name="T">The .NET counterpart of <see cref="Type"/>.</typeparam>
    /// <exception cref="ArgumentException">The types or the lengths do not match.</exception>
    public void CopyFrom<T>(ReadOnlySpan<T> source) where T : unmanaged
    {
        CheckElement<T>(source.Length);
        Device.Upload(MemoryMarshal.AsBytes(source), this);
    }

    /// <summary>A copy of all elements on the host.</summary>
    /// <typeparam name="T">The .NET counterpart of <see cref="Type"/>.</typeparam>
    /// <exception cref="ArgumentException">The types do not match.</exception>
    public T[] ToArray<T>() where T : unmanaged
    {
        var array = new T[Shape.Count];
        CopyTo<T>(array);
        return array;
    }

    /// <summary>Type, axes and device.</summary>
    public override string ToString() => $"{Type} {Shape} on {Device.Name}";

    /// <summary>Gives up this handle.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _block.Release();
        }
    }

    private Tensor View(long elements, Shape shape)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        _block.AddReference();
        return new Tensor(_block, _offset + elements * Type.Size(), Type, shape);
    }

    private void CheckElement<T>(int length) where T : unmanaged
    {
        bool sameSize = System.Runtime.CompilerServices.Unsafe.SizeOf<T>() == Type.Size();
        bool matches = Type == ElementType.BF16 ? sameSize : ElementTypes.Of<T>() == Type;
        if (!matches || length != Shape.Count)
        {
            throw new ArgumentException($"{length} elements of {typeof(T).Name} do not match a tensor of {Type} {Shape}.");
        }
    }
}
