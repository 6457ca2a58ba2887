using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// Keys and values of the tokens that a batch has seen, so that a run computes only new ones. Values are bitwise those of a run over
/// everything at once.
/// </summary>
public sealed class KeyValueCache : IDisposable
{
    private readonly ModelDescription _model;
    private readonly Device _device;
    private readonly Tensor[] _keys;
    private readonly Tensor[] _values;
    private int[]? _first;
    private (int, int)[]? _rotaryKeys;

    internal KeyValueCache(ModelDescription model, Device device, int batch, int capacity)
    {
        (_model, _device, Batch, Capacity) = (model, device, batch, capacity);
        _keys = new Tensor[model.Layers];
        _values = new Tensor[model.Layers];
        for (int layer = 0; layer < model.Layers; layer++)
        {
            _keys[layer] = device.Allocate(ElementType.F32, batch, capacity, model.KeyValueHeads, model.HeadSize);
            _values[layer] = device.Allocate(ElementType.F32, batch, capacity, model.KeyValueHeads, model.ValueSize);
        }
    }

    /// <summary>Sequences.</summary>
    public int Batch { get; }

    /// <summary>Tokens of each that fit, padding included.</summary>
    public int Capacity { get; }

    /// <summary>Tokens of each that are there, padding included.</summary>
    public int Length { get; private set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _keys.Concat(_values))
        {
            tensor.Dispose();
        }
    }

    /// <summary>A cache with some of the sequences, in this order.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence.</exception>
    public KeyValueCache Select(params ReadOnlySpan<int> rows)
    {
        var selected = new KeyValueCache(_model, _device, rows.Length, Capacity) { Length = Length };
        for (int i = 0; i < rows.Length; i++)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(rows[i], nameof(rows));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rows[i], Batch, nameof(rows));
            for (int layer = 0; layer < _keys.Length; layer++)
            {
                CopyRow(_keys[layer], rows[i], selected._keys[layer], i);
                CopyRow(_values[layer], rows[i], selected._values[layer], i);
            }
        }

        int[] chosen = rows.ToArray();
        selected._first = _first is null ? null : [.. chosen.Select(row => _first[row])];
        selected._rotaryKeys = _rotaryKeys is not { Length: > 0 } ? _rotaryKeys : [.. chosen.Select(row => _rotaryKeys[row])];
        return selected;
    }

    internal Tensor Keys(int layer) => _keys[layer];

    internal Tensor Values(int layer) => _values[layer];

    /// <summary>Each sequence's first real token; zeros before the first run.</summary>
    internal ReadOnlySpan<int> First => _first ?? new int[Batch];

    /// <summary>Checks that a batch can follow what is there.</summary>
    internal void CheckNext(TokenBatch tokens)
    {
        if (tokens.Batch != Batch)
        {
            throw new ModelException($"The cache holds {Batch} sequences, but the batch has {tokens.Batch}.");
        }

        if (tokens.Length > Capacity - Length)
        {
            throw new ModelException(
                $"The cache holds {Length} of {Capacity} tokens; {tokens.Length} more do not fit.", "Create it with a larger capacity.");
        }

        foreach ((int first, int end) in tokens.Spans)
        {
            if (end != tokens.Length || (first != 0 && Length > 0))
            {
                throw new ModelException("With a key/value cache, padding may only stand before the first tokens.", "Pad on the left.");
            }
        }
    }

    /// <summary>Refuses a text that would have to be rotated anew: its keys are in the cache as they were rotated.</summary>
    /// <param name="rotaryKeys">Each sequence's <see cref="RotaryFrequencies.LengthKey"/> with the new tokens, global and local.</param>
    internal void CheckRotation(ReadOnlySpan<(int, int)> rotaryKeys)
    {
        if (_rotaryKeys is not null && !rotaryKeys.SequenceEqual(_rotaryKeys))
        {
            throw new ModelException(
                "The text grew past the length at which this model's rotary scaling changes, and the cached keys are rotated the old way.",
                "Run the whole text at once, without a cache.");
        }
    }

    /// <summary>Counts a batch in, once its run is through: a run that was cut off leaves the cache as it was.</summary>
    internal void Advance(TokenBatch tokens, (int, int)[] rotaryKeys)
    {
        _first ??= [.. tokens.Spans.Select(span => span.First)];
        _rotaryKeys = rotaryKeys;
        Length += tokens.Length;
    }

    private void CopyRow(Tensor from, int fromRow, Tensor to, int toRow)
    {
        int token = from.Shape[2] * from.Shape[3], used = Length * token, all = Capacity * token;
        _device.Run(new Copy
        {
            From = new Matrix(from, (long)fromRow * all, 1, used, used),
            To = new Matrix(to, (long)toRow * all, 1, used, used),
        });
    }
}
