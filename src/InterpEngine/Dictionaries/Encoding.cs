using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>The active features of some rows, and what is needed to decode them. It owns its tensors.</summary>
public sealed class Encoding : IDisposable
{
    private readonly float[]? _means;
    private readonly float[]? _scales;
    private readonly DictionaryParameters _parameters;

    internal Encoding(SparseDictionary dictionary, SparseRows features, Tensor? pre, Tensor input, float[]? means, float[]? scales)
    {
        (Features, Pre, Input, _means, _scales) = (features, pre, input, means, scales);
        _parameters = dictionary.Parameters;
        DictionaryConfig config = dictionary.Config;
        OutputShape = config.InputWidth == config.OutputWidth ? input.Shape : new Shape([.. LeadingAxes(input.Shape, config.InputWidth), config.OutputWidth]);
    }

    /// <summary>[rows, features]: the activations, as the dictionary's library has them.</summary>
    public SparseRows Features { get; }

    /// <summary>[rows, features]: pre-activations, if they were wanted; for a gated dictionary the product alone, without biases.</summary>
    public Tensor? Pre { get; }

    /// <summary>The rows that were encoded.</summary>
    internal Tensor Input { get; }

    /// <summary>The shape of what is decoded.</summary>
    internal Shape OutputShape { get; }

    /// <summary>The same rows with other activations.</summary>
    /// <param name="edit">From row, feature and activation to the new activation. Only active features are asked about.</param>
    public Encoding With(Func<int, int, float, float> edit) => With(Features.Map(edit));

    /// <inheritdoc/>
    public void Dispose()
    {
        Features.Dispose();
        Pre?.Dispose();
        Input.Dispose();
    }

    /// <summary>The same rows with other features, which become its own.</summary>
    internal Encoding With(SparseRows features) => new(this, features);

    /// <summary>Brings what was decoded back to the scale of the input.</summary>
    internal void Denormalize(Tensor output)
    {
        if (_scales is null && _parameters.InputScale is null)
        {
            return;
        }

        int width = output.Shape.Columns;
        float[] values = output.ToArray<float>();
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = _scales is not null
                ? values[i] * _scales[i / width] + (_means?[i / width] ?? 0)
                : values[i] / (_parameters.InputScale![i % width] + 1e-8f) + _parameters.InputMean![i % width];
        }

        output.CopyFrom<float>(values);
    }

    /// <summary>The axes in front of those that make up a row.</summary>
    internal static int[] LeadingAxes(Shape shape, int width)
    {
        int axis = shape.Rank;
        for (long product = 1; axis > 0 && product < width;)
        {
            product *= shape[--axis];
        }

        return [.. shape.Axes[..axis]];
    }

    private Encoding(Encoding other, SparseRows features)
    {
        (Features, Input, OutputShape, _means, _scales) = (features, other.Input.Share(), other.OutputShape, other._means, other._scales);
        _parameters = other._parameters;
    }
}

/// <summary>Rows as the encoder reads them: normalised and centred.</summary>
internal sealed class NormalizedInput : IDisposable
{
    private readonly SparseDictionary _dictionary;
    private readonly Tensor _input;
    private readonly Tensor _rows;
    private readonly float[]? _means;
    private readonly float[]? _scales;

    public NormalizedInput(SparseDictionary dictionary, Tensor x)
    {
        DictionaryConfig config = dictionary.Config;
        int d = config.InputWidth;
        int[] leading = Encoding.LeadingAxes(x.Shape, d);
        long inner = x.Shape.Axes[leading.Length..].ToArray().Aggregate(1L, (product, axis) => product * axis);
        if (x.Type != ElementType.F32 || inner != d || x.Device != dictionary.Device)
        {
            throw new DictionaryException(
                $"A dictionary of width {d} on {dictionary.Device.Name} cannot read {x}.",
                "Give F32 rows of the hook point that it was trained on, on its own device.");
        }

        (_dictionary, _input, Count) = (dictionary, x.Share(), checked((int)(x.Shape.Count / Math.Max(1, d))));
        DictionaryParameters parameters = dictionary.Parameters;
        bool perRow = RowNormalization.Has(config.Normalization);
        if (!perRow && !config.CentersInput && parameters.InputMean is null)
        {
            _rows = x.Reshape(Count, d);
            return;
        }

        _means = config.Normalization == InputNormalization.LayerNorm ? new float[Count] : null;
        _scales = perRow ? new float[Count] : null;
        float[] values = x.ToArray<float>();
        for (int row = 0; row < Count; row++)
        {
            Span<float> v = values.AsSpan(row * d, d);
            if (perRow)
            {
                (float mean, _scales![row]) = RowNormalization.Apply(v, config.Normalization);
                if (_means is not null)
                {
                    _means[row] = mean;
                }
            }

            for (int i = 0; i < d; i++)
            {
                v[i] = parameters.InputMean is null ? v[i] : (v[i] - parameters.InputMean[i]) * parameters.InputScale![i];
                v[i] = config.CentersInput ? v[i] - parameters.DecoderBias[i] : v[i];
            }
        }

        _rows = x.Device.Upload<float>(values, Count, d);
    }

    /// <summary>How many rows.</summary>
    public int Count { get; }

    /// <summary>[rows, input].</summary>
    public Tensor Rows => _rows;

    /// <summary>Features with what is needed to decode them.</summary>
    public Encoding With(SparseRows features, Tensor? pre) => new(_dictionary, features, pre, _input.Share(), _means, _scales);

    public void Dispose()
    {
        _input.Dispose();
        _rows.Dispose();
    }
}
