using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// A tensor that both the device and the host work on. Where the device's memory is the host's there is one memory; else a copy on the host,
/// which travels when the other side wants it and only then.
/// </summary>
/// <param name="tensor">The tensor; it stays the caller's.</param>
internal sealed unsafe class Mirrored<T>(Tensor tensor) where T : unmanaged
{
    private readonly bool _isHost = tensor.Device is HostDevice;
    private T[]? _copy;
    private bool _isCurrent, _isEdited;

    /// <summary>For an op of the device, which may write to it: spans that were taken before are of the past then.</summary>
    public Tensor Tensor
    {
        get
        {
            if (_isEdited)
            {
                tensor.CopyFrom<T>(_copy);
            }

            _isCurrent = _isEdited = false;
            return tensor;
        }
    }

    /// <summary>Its elements.</summary>
    public ReadOnlySpan<T> Elements
    {
        get
        {
            if (_isHost)
            {
                return HostMemory.Of<T>(tensor);
            }

            if (!_isCurrent)
            {
                tensor.CopyTo<T>(_copy ??= new T[tensor.Shape.Count]);
                _isCurrent = true;
            }

            return _copy;
        }
    }

    /// <summary>Its elements, to be changed.</summary>
    public Span<T> Edited
    {
        get
        {
            if (_isHost)
            {
                return HostMemory.Of<T>(tensor);
            }

            _ = Elements;
            _isEdited = true;
            return _copy;
        }
    }
}

/// <summary>Elements of a device's tensors, as the host sees them.</summary>
internal static unsafe class HostMemory
{
    /// <summary>What changes some elements.</summary>
    public delegate void Editor<T>(Span<T> elements);

    /// <summary>The elements: themselves where they lie in host memory, else a copy.</summary>
    public static ReadOnlySpan<T> Read<T>(Tensor tensor) where T : unmanaged => tensor.Device is HostDevice ? Of<T>(tensor) : tensor.ToArray<T>();

    /// <summary>Changes elements.</summary>
    public static void Edit<T>(Tensor tensor, Editor<T> edit) where T : unmanaged
    {
        if (tensor.Device is HostDevice)
        {
            edit(Of<T>(tensor));
            return;
        }

        T[] copy = tensor.ToArray<T>();
        edit(copy);
        tensor.CopyFrom<T>(copy);
    }

    /// <summary>The memory of a host device's tensor.</summary>
    internal static Span<T> Of<T>(Tensor tensor) where T : unmanaged => new((void*)tensor.Address, checked((int)tensor.Shape.Count));
}
