using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>A parameter in training: its values, its gradient, and what the optimiser remembers of it. Host and device both work on them.</summary>
internal sealed class TrainedMatrix : IDisposable
{
    private readonly Tensor[] _tensors;
    private readonly Mirrored<float>[] _mirrored;

    public TrainedMatrix(string name, float[] values, int rows, int columns, Device device)
    {
        (Name, Rows, Columns) = (name, rows, columns);
        _tensors = [.. Enumerable.Range(0, 4).Select(_ => device.Allocate(ElementType.F32, rows, columns))];
        _mirrored = [.. _tensors.Select(tensor => new Mirrored<float>(tensor))];
        _tensors[0].CopyFrom<float>(values);
        Gradients.Clear();
        First.Clear();
        Second.Clear();
    }

    public string Name { get; }

    public int Rows { get; }

    public int Columns { get; }

    public Tensor Value => _mirrored[0].Tensor;

    public Tensor Gradient => _mirrored[1].Tensor;

    /// <summary>Adam's mean of gradients, or the schedule-free optimiser's fast iterate.</summary>
    public Tensor M => _mirrored[2].Tensor;

    /// <summary>Adam's mean of squares.</summary>
    public Tensor V => _mirrored[3].Tensor;

    public Span<float> Values => _mirrored[0].Edited;

    public Span<float> Row(int row) => Values.Slice(row * Columns, Columns);

    public Span<float> Gradients => _mirrored[1].Edited;

    public Span<float> First => _mirrored[2].Edited;

    public Span<float> Second => _mirrored[3].Edited;

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
