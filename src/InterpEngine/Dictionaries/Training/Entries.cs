using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// The features that took part in a step, row by row: pre-activations, what the decoder multiplies by, and the gradients of both.
/// </summary>
internal sealed class Entries : IDisposable
{
    private readonly Device _device;
    private Tensor _h, _preGradients;
    private SparseRows? _transposed;
    private Tensor? _order;

    /// <summary>Takes sparse rows, whose values are pre-activations; the decoder's coefficients are the same until <see cref="SplitValues"/>.</summary>
    public Entries(Device device, SparseRows rows)
    {
        (_device, Rows) = (device, rows);
        Count = HostSpan.Of<int>(rows.RowPointers)[^1];
        ValueGradientTensor = device.Allocate(ElementType.F32, rows.Capacity);
        (_h, _preGradients) = (rows.Values.Share(), ValueGradientTensor.Share());
    }

    public SparseRows Rows { get; }

    public int Count { get; }

    public ReadOnlySpan<int> Pointers => HostSpan.Of<int>(Rows.RowPointers);

    public ReadOnlySpan<int> Features => HostSpan.Of<int>(Rows.Indices)[..Count];

    /// <summary>Pre-activations.</summary>
    public ReadOnlySpan<float> H => HostSpan.Of<float>(_h)[..Count];

    /// <summary>What the decoder's rows are multiplied by.</summary>
    public Span<float> Values => HostSpan.Of<float>(Rows.Values)[..Count];

    /// <summary>The loss's gradient by <see cref="Values"/>, set by <see cref="Backward"/>.</summary>
    public Span<float> ValueGradients => HostSpan.Of<float>(ValueGradientTensor)[..Count];

    /// <summary>The loss's gradient by <see cref="H"/>: the same until <see cref="SplitGradients"/>.</summary>
    public Span<float> PreGradients => HostSpan.Of<float>(_preGradients)[..Count];

    public Tensor ValueGradientTensor { get; }

    /// <summary>Gives values a memory of their own beside the pre-activations'.</summary>
    public void SplitValues()
    {
        _h.Dispose();
        _h = _device.Upload<float>(Values, Count);
    }

    /// <summary>Gives the gradients by pre-activations a memory of their own, zeros at first.</summary>
    public void SplitGradients()
    {
        _preGradients.Dispose();
        _preGradients = _device.Allocate(ElementType.F32, Rows.Capacity);
        PreGradients.Clear();
    }

    /// <summary>The same entries with other decoder coefficients.</summary>
    public Entries With(ReadOnlySpan<float> values) => new(_device, SparseRowsEditing.Upload(_device, Rows.Columns, Pointers, Features, values));

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
                        values.Add(Values[e]);
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
        Dots = dots ? ValueGradientTensor : null,
    });

    /// <summary>Given that the loss's gradient by what was decoded is so many times an output: adds that by the decoder, and sets that by the
    /// values.</summary>
    public void Backward(TrainedMatrix decoder, Tensor output, double factor, bool hasDots = false, bool trainsDecoder = true)
    {
        if (trainsDecoder)
        {
            AddProduct(Rows.Values, factor, output, null, decoder);
        }

        if (!hasDots)
        {
            _device.Run(new SparseDots { X = output, S = Rows, M = decoder.Value, Out = ValueGradientTensor });
        }

        DictionaryTrainer.Scale(ValueGradients, factor);
    }

    /// <summary>Adds the gradient by the encoder, given <see cref="PreGradients"/>, and returns each feature's sum of them, [features].</summary>
    /// <param name="encoder">The parameter.</param>
    /// <param name="input">[n, input].</param>
    /// <param name="offset">[input]: what was subtracted from it, or null.</param>
    public Tensor BackwardToEncoder(TrainedMatrix encoder, Tensor input, Tensor? offset)
    {
        AddProduct(_preGradients, 1, input, offset, encoder);
        ReadOnlySpan<int> pointers = HostSpan.Of<int>(_transposed!.RowPointers), order = HostSpan.Of<int>(_order!);
        ReadOnlySpan<float> gradients = PreGradients;
        Tensor result = _device.Allocate(ElementType.F32, Rows.Columns);
        Span<float> sums = HostSpan.Of<float>(result);
        for (int f = 0; f < sums.Length; f++)
        {
            double sum = 0;
            for (int e = pointers[f]; e < pointers[f + 1]; e++)
            {
                sum += gradients[order[e]];
            }

            sums[f] = (float)sum;
        }

        return result;
    }

    public void Dispose()
    {
        Rows.Dispose();
        ValueGradientTensor.Dispose();
        _h.Dispose();
        _preGradients.Dispose();
        _transposed?.RowPointers.Dispose();
        _transposed?.Indices.Dispose();
        _order?.Dispose();
    }

    /// <summary>parameter gradient += factor·Sᵀ·(M − offset), S having the given values.</summary>
    private void AddProduct(Tensor values, double factor, Tensor m, Tensor? offset, TrainedMatrix parameter)
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
            Scale = (float)factor,
            M = m,
            Offset = offset,
            Accumulate = !parameter.IsFresh,
            Out = parameter.Gradient,
        });
        parameter.IsFresh = false;
    }
}
