using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// The features that took part in a step, row by row: pre-activations, what the decoder multiplies by, and the gradients of both.
/// </summary>
internal sealed class Entries : IDisposable
{
    private readonly Device _device;
    private SparseRows? _transposed;
    private Tensor? _order;

    /// <summary>Takes sparse rows, whose values are pre-activations; decoder's coefficients start as these.</summary>
    public Entries(Device device, SparseRows rows)
    {
        (_device, Rows) = (device, rows);
        Count = HostSpan.Of<int>(rows.RowPointers)[^1];
        H = HostSpan.Of<float>(rows.Values)[..Count].ToArray();
        ValueGradientTensor = device.Allocate(ElementType.F32, rows.Capacity);
        PreGradientTensor = device.Allocate(ElementType.F32, rows.Capacity);
        HostSpan.Of<float>(ValueGradientTensor).Clear();
        HostSpan.Of<float>(PreGradientTensor).Clear();
    }

    public SparseRows Rows { get; }

    public int Count { get; }

    public ReadOnlySpan<int> Pointers => HostSpan.Of<int>(Rows.RowPointers);

    public ReadOnlySpan<int> Features => HostSpan.Of<int>(Rows.Indices)[..Count];

    /// <summary>Pre-activations.</summary>
    public float[] H { get; }

    /// <summary>What the decoder's rows are multiplied by.</summary>
    public Span<float> Values => HostSpan.Of<float>(Rows.Values)[..Count];

    /// <summary>The loss's gradient by <see cref="Values"/>.</summary>
    public Span<float> ValueGradients => HostSpan.Of<float>(ValueGradientTensor)[..Count];

    /// <summary>The loss's gradient by <see cref="H"/>.</summary>
    public Span<float> PreGradients => HostSpan.Of<float>(PreGradientTensor)[..Count];

    public Tensor ValueGradientTensor { get; }

    public Tensor PreGradientTensor { get; }

    /// <summary>The same entries with other decoder coefficients.</summary>
    public Entries With(ReadOnlySpan<float> values)
    {
        SparseRows rows = SparseRowsEditing.Upload(_device, Rows.Columns, Pointers, Features, values);
        return new Entries(_device, rows);
    }

    /// <summary>The entries whose features lie in [from, to), for each of some levels; the last level ends the features.</summary>
    public IReadOnlyList<Entries> Split(IReadOnlyList<int> ends)
    {
        var parts = new List<Entries>();
        int begin = 0;
        foreach (int end in ends)
        {
            int[] pointers = new int[Rows.Rows + 1];
            var features = new List<int>();
            var values = new List<float>();
            for (int row = 0; row < Rows.Rows; row++)
            {
                for (int e = Pointers[row]; e < Pointers[row + 1]; e++)
                {
                    if (Features[e] >= begin && Features[e] < end)
                    {
                        features.Add(Features[e]);
                        values.Add(H[e]);
                    }
                }

                pointers[row + 1] = features.Count;
            }

            parts.Add(new Entries(_device, SparseRowsEditing.Upload(_device, Rows.Columns, pointers, features.ToArray(), values.ToArray())));
            begin = end;
        }

        return parts;
    }

    /// <summary>Adds values·rows of the decoder to what an output holds.</summary>
    public void DecodeOnto(TrainedMatrix decoder, Tensor output) =>
        _device.Run(new SparseProduct { S = Rows, M = decoder.Value, Accumulate = true, Out = output });

    /// <summary>Given the loss's gradient by what was decoded: adds that by the decoder, and that by the coefficients.</summary>
    public void Backward(TrainedMatrix decoder, Tensor outputGradient, bool trainsDecoder = true)
    {
        if (trainsDecoder)
        {
            AddProduct(Rows.Values, outputGradient, decoder);
        }

        using Tensor dots = _device.Allocate(ElementType.F32, Rows.Capacity);
        _device.Run(new SparseDots { X = outputGradient, S = Rows, M = decoder.Value, Out = dots });
        Span<float> gradients = ValueGradients;
        ReadOnlySpan<float> added = HostSpan.Of<float>(dots);
        for (int e = 0; e < gradients.Length; e++)
        {
            gradients[e] += added[e];
        }
    }

    /// <summary>Adds the gradient by the encoder, given <see cref="PreGradients"/>, and each feature's sum of them.</summary>
    public void BackwardToEncoder(TrainedMatrix encoder, Tensor input, Span<float> sums)
    {
        AddProduct(PreGradientTensor, input, encoder);
        ReadOnlySpan<int> pointers = HostSpan.Of<int>(_transposed!.RowPointers), order = HostSpan.Of<int>(_order!);
        ReadOnlySpan<float> gradients = PreGradients;
        for (int f = 0; f < sums.Length; f++)
        {
            double sum = 0;
            for (int e = pointers[f]; e < pointers[f + 1]; e++)
            {
                sum += gradients[order[e]];
            }

            sums[f] += (float)sum;
        }
    }

    public void Dispose()
    {
        Rows.Dispose();
        ValueGradientTensor.Dispose();
        PreGradientTensor.Dispose();
        _transposed?.RowPointers.Dispose();
        _transposed?.Indices.Dispose();
        _order?.Dispose();
    }

    /// <summary>parameter gradient += Sᵀ·M, S having the given values.</summary>
    private void AddProduct(Tensor values, Tensor m, TrainedMatrix parameter)
    {
        if (_transposed is null)
        {
            Tensor pointers = _device.Allocate(ElementType.I32, Rows.Columns + 1);
            Tensor indices = _device.Allocate(ElementType.I32, Rows.Capacity);
            _order = _device.Allocate(ElementType.I32, Rows.Capacity);
            _device.Run(new SparseTranspose { S = Rows, RowPointers = pointers, Indices = indices, Order = _order });
            _transposed = new SparseRows(Rows.Rows, pointers, indices, Rows.Values);
        }

        _device.Run(new SparseProduct
        {
            S = new SparseRows(Rows.Rows, _transposed.RowPointers, _transposed.Indices, values),
            Order = _order,
            M = m,
            Accumulate = !parameter.IsFresh,
            Out = parameter.Gradient,
        });
        parameter.IsFresh = false;
    }
}
