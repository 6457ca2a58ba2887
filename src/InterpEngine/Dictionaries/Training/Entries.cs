using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// The features that took part in a step, row by row: pre-activations, what the decoder multiplies by, and the gradients of both.
/// </summary>
internal sealed class Entries : IDisposable
{
    private readonly Device _device;
    private readonly SparseRows _rows;
    private readonly Mirrored<int> _pointers, _features;
    private readonly Mirrored<float> _values, _valueGradients;
    private readonly List<IDisposable> _owned = [];
    private Mirrored<float> _h, _preGradients;
    private SparseRows? _transposed;
    private Tensor? _order;

    /// <summary>Takes sparse rows, whose values are pre-activations; the decoder's coefficients are the same until <see cref="SplitValues"/>.</summary>
    public Entries(Device device, SparseRows rows)
    {
        (_device, _rows, _pointers, _features) = (device, rows, new(rows.RowPointers), new(rows.Indices));
        Count = Pointers[^1];
        (_h, _preGradients) = (_values, _valueGradients) = (new(rows.Values), New(rows.Capacity));
    }

    /// <summary>For the device's ops.</summary>
    public SparseRows Rows
    {
        get
        {
            _ = _values.Tensor;
            return _rows;
        }
    }

    public int Count { get; }

    public ReadOnlySpan<int> Pointers => _pointers.Elements;

    public ReadOnlySpan<int> Features => _features.Elements[..Count];

    /// <summary>Pre-activations.</summary>
    public ReadOnlySpan<float> H => _h.Elements[..Count];

    /// <summary>What the decoder's rows are multiplied by.</summary>
    public Span<float> Values => _values.Edited[..Count];

    /// <summary>The loss's gradient by <see cref="Values"/>, set by <see cref="Backward"/>.</summary>
    public Span<float> ValueGradients => _valueGradients.Edited[..Count];

    /// <summary>The loss's gradient by <see cref="H"/>: the same until <see cref="SplitGradients"/>.</summary>
    public Span<float> PreGradients => _preGradients.Edited[..Count];

    /// <summary>Gives values a memory of their own beside the pre-activations'.</summary>
    public void SplitValues()
    {
        Tensor values = _device.Upload<float>(Values, Count);
        _owned.Add(values);
        _h = new(values);
    }

    /// <summary>Gives the gradients by pre-activations a memory of their own, zeros at first.</summary>
    public void SplitGradients()
    {
        _preGradients = New(_rows.Capacity);
        PreGradients.Clear();
    }

    /// <summary>The same entries with other decoder coefficients.</summary>
    public Entries With(ReadOnlySpan<float> values) => new(_device, SparseRowsEditing.Upload(_device, _rows.Columns, Pointers, Features, values));

    /// <summary>The entries whose features lie in [from, to), for each of some levels; the last level ends the features.</summary>
    public IReadOnlyList<Entries> Split(IReadOnlyList<int> ends)
    {
        var parts = new List<Entries>();
        int begin = 0;
        foreach (int end in ends)
        {
            int[] pointers = new int[_rows.Rows + 1];
            var features = new List<int>();
            var values = new List<float>();
            for (int row = 0; row < _rows.Rows; row++)
            {
                for (int e = Pointers[row]; e < Pointers[row + 1]; e++)
                {
                    if (Features[e] >= begin && Features[e] < end)
                    {
                        features.Add(Features[e]);
                        values.Add(Values[e]);
                    }
                }

                pointers[row + 1] = features.Count;
            }

            parts.Add(new Entries(_device, SparseRowsEditing.Upload(_device, _rows.Columns, pointers, features.ToArray(), values.ToArray())));
            begin = end;
        }

        return parts;
    }

    /// <summary>Adds values·rows of the decoder to what an output holds.</summary>
    public void DecodeOnto(TrainedMatrix decoder, Tensor output) =>
        _device.Run(new SparseProduct { S = Rows, M = decoder.Value, Accumulate = true, Out = output });

    /// <summary>What is decoded, less a target.</summary>
    /// <param name="decoder">Its rows.</param>
    /// <param name="bias">Added to each row.</param>
    /// <param name="target">[n, output].</param>
    /// <param name="error">[n, output].</param>
    /// <param name="dots">Whether the error's dots with the decoder's rows are left where the gradients by values will be.</param>
    public void Decode(TrainedMatrix decoder, TrainedMatrix bias, Tensor target, Tensor error, bool dots = false) => _device.Run(new SparseProduct
    {
        S = Rows,
        M = decoder.Value,
        Bias = bias.Value,
        Target = target,
        Out = error,
        Dots = dots ? _valueGradients.Tensor : null,
    });

    /// <summary>Given that the loss's gradient by what was decoded is so many times an output: adds that by the decoder, and sets that by the
    /// values.</summary>
    public void Backward(TrainedMatrix decoder, Tensor output, double factor, bool hasDots = false, bool trainsDecoder = true)
    {
        if (trainsDecoder)
        {
            AddProduct(_values.Tensor, factor, output, null, decoder);
        }

        if (!hasDots)
        {
            _device.Run(new SparseDots { X = output, S = Rows, M = decoder.Value, Out = _valueGradients.Tensor });
        }

        DictionaryTrainer.Scale(ValueGradients, factor);
    }

    /// <summary>Adds the gradient by the encoder, given <see cref="PreGradients"/>, and returns each feature's sum of them.</summary>
    /// <param name="encoder">The parameter.</param>
    /// <param name="input">[n, input].</param>
    /// <param name="offset">[input]: what was subtracted from it, or null.</param>
    public float[] BackwardToEncoder(TrainedMatrix encoder, Tensor input, Tensor? offset)
    {
        AddProduct(_preGradients.Tensor, 1, input, offset, encoder);
        ReadOnlySpan<int> pointers = HostMemory.Read<int>(_transposed!.RowPointers), order = HostMemory.Read<int>(_order!);
        ReadOnlySpan<float> gradients = PreGradients;
        var sums = new float[_rows.Columns];
        for (int f = 0; f < sums.Length; f++)
        {
            double sum = 0;
            for (int e = pointers[f]; e < pointers[f + 1]; e++)
            {
                sum += gradients[order[e]];
            }

            sums[f] = (float)sum;
        }

        return sums;
    }

    public void Dispose()
    {
        _rows.Dispose();
        _owned.ForEach(owned => owned.Dispose());
        _transposed?.RowPointers.Dispose();
        _transposed?.Indices.Dispose();
        _order?.Dispose();
    }

    private Mirrored<float> New(int count)
    {
        Tensor tensor = _device.Allocate(ElementType.F32, count);
        _owned.Add(tensor);
        return new(tensor);
    }

    /// <summary>parameter gradient += factor·Sᵀ·(M − offset), S having the given values.</summary>
    private void AddProduct(Tensor values, double factor, Tensor m, Tensor? offset, TrainedMatrix parameter)
    {
        if (_transposed is null)
        {
            Tensor pointers = _device.Allocate(ElementType.I32, _rows.Columns + 1);
            Tensor indices = _device.Allocate(ElementType.I32, _rows.Capacity);
            _order = _device.Allocate(ElementType.I32, _rows.Capacity);
            _device.Run(new SparseTranspose { S = Rows, RowPointers = pointers, Indices = indices, Order = _order });
            _transposed = new SparseRows(_rows.Rows, pointers, indices, _rows.Values);
        }

        _device.Run(new SparseProduct
        {
            S = new SparseRows(_rows.Rows, _transposed.RowPointers, _transposed.Indices, values),
            Order = _order,
            Scale = (float)factor,
            M = m,
            Offset = offset,
            Accumulate = !parameter.IsFresh,
            Out = parameter.Gradient,
        });
        parameter.IsFresh = false;
    }
}
