using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>A parameter in training: its values, its gradient, and what the optimiser remembers of it. All lie in host memory.</summary>
internal sealed class TrainedMatrix : IDisposable
{
    private readonly Tensor[] _tensors;

    public TrainedMatrix(string name, float[] values, int rows, int columns, Device device)
    {
        (Name, Rows, Columns) = (name, rows, columns);
        _tensors = [.. Enumerable.Range(0, 4).Select(_ => device.Allocate(ElementType.F32, rows, columns))];
        values.CopyTo(Values);
        Gradients.Clear();
        First.Clear();
        Second.Clear();
    }

    public string Name { get; }

    public int Rows { get; }

    public int Columns { get; }

    public Tensor Value => _tensors[0];

    public Tensor Gradient => _tensors[1];

    /// <summary>Adam's mean of gradients, or the schedule-free optimiser's fast iterate.</summary>
    public Tensor M => _tensors[2];

    /// <summary>Adam's mean of squares.</summary>
    public Tensor V => _tensors[3];

    public Span<float> Values => HostSpan.Of<float>(Value);

    public Span<float> Row(int row) => Values.Slice(row * Columns, Columns);

    public Span<float> Gradients => HostSpan.Of<float>(Gradient);

    public Span<float> First => HostSpan.Of<float>(M);

    public Span<float> Second => HostSpan.Of<float>(V);

    /// <summary>Whether the gradient of this step is still to be begun: sums replace what the last step left.</summary>
    public bool IsFresh { get; set; } = true;

    public void Dispose()
    {
        foreach (Tensor tensor in _tensors)
        {
            tensor.Dispose();
        }
    }
}

/// <summary>The elements of tensors that lie in host memory.</summary>
internal static unsafe class HostSpan
{
    public static Span<T> Of<T>(Tensor tensor) where T : unmanaged => new((void*)tensor.Address, checked((int)tensor.Shape.Count));

    /// <exception cref="DictionaryException">The device's memory is not the host's.</exception>
    public static void Require(Device device)
    {
        if (device is not HostDevice)
        {
            throw new DictionaryException($"Dictionaries cannot be trained on {device.Name} yet.", "Train on a CPU device: Device.Cpu().");
        }
    }
}
