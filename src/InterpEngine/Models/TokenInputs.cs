using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// A run's tokens on the device: their ids, where they stand, and what of the keys and values is their sequence's. Everything lies in one
/// tensor, <see cref="All"/>, so that it comes there at once and a recorded run can be given the next tokens.
/// </summary>
internal sealed class TokenInputs : IDisposable
{
    private readonly ModelDescription _description;
    private readonly KeyValueCache? _cache;
    private readonly RotaryTables.Rows? _rows;
    private readonly RotaryTables.Rows? _localRows;
    private readonly RotaryTables? _rotary;
    private readonly RotaryTables? _localRotary;
    private readonly List<Tensor> _slices = [];

    /// <param name="device">Where the model runs.</param>
    /// <param name="description">The model.</param>
    /// <param name="rotary">Its rotary tables, if any.</param>
    /// <param name="localRotary">Those of blocks with a window, if they differ.</param>
    /// <param name="tokens">The tokens.</param>
    /// <param name="cache">What came before them; null for nothing.</param>
    /// <param name="forSteps">Whether the ops are to be run again for later tokens: they then learn from the device how far the cache is
    /// filled.</param>
    public TokenInputs(
        Device device, ModelDescription description, RotaryTables? rotary, RotaryTables? localRotary, TokenBatch tokens, KeyValueCache? cache,
        bool forSteps = false)
    {
        (_description, _cache, _rotary, _localRotary) = (description, cache, rotary, localRotary);
        (Batch, Length) = (tokens.Batch, tokens.Length);
        int[] totals = Totals(tokens);
        int longest = forSteps ? cache!.Capacity : totals.Max();
        if (rotary is not null)
        {
            _rows = rotary.For(totals, longest);
            _localRows = localRotary?.For(totals, longest);
        }

        int[] numbers = Numbers(tokens, totals);
        All = device.Upload<int>(numbers, numbers.Length);
        int count = Batch * Length, at = 0;
        Ids = Next(count);
        Places = Next(count);
        Tensor rotated = Next(count), locallyRotated = Next(count);
        Rotation = _rows is null ? null : new Rotation(_rows, rotated);
        LocalRotation = _localRows is null ? null : new Rotation(_localRows, locallyRotated);
        using Tensor spans = Next(2 * Batch);
        Spans = spans.Reshape(Batch, 2);
        Tensor past = Next(1), keys = Next(1);
        (At, KeyCount) = forSteps ? (past, keys) : (null, null);

        Tensor Next(int length)
        {
            Tensor slice = All.Slice(at, length);
            at += length;
            _slices.Add(slice);
            return slice;
        }
    }

    public int Batch { get; }

    /// <summary>Tokens of a sequence in the run, padding included.</summary>
    public int Length { get; }

    /// <summary>I32: everything.</summary>
    public Tensor All { get; }

    /// <summary>[batch · positions]: token ids; −1 at padding.</summary>
    public Tensor Ids { get; }

    /// <summary>[batch · positions]: positions in the sequence; −1 at padding.</summary>
    public Tensor Places { get; }

    /// <summary>[batch, 2]: the first key of each sequence and the one past its last.</summary>
    public Tensor Spans { get; }

    public Rotation? Rotation { get; }

    public Rotation? LocalRotation { get; }

    /// <summary>[1]: where in the cache the tokens go, if only the device is to know; with it <see cref="KeyCount"/>.</summary>
    public Tensor? At { get; }

    /// <summary>[1]: how many keys the tokens see at most, themselves among them.</summary>
    public Tensor? KeyCount { get; }

    /// <summary>[batch · positions] on the host: positions in the sequence; −1 at padding.</summary>
    public int[] Positions { get; private set; } = [];

    /// <summary>Each sequence's <see cref="RotaryFrequencies.LengthKey"/>, global and local.</summary>
    public (int, int)[] RotaryKeys { get; private set; } = [];

    /// <summary>What <see cref="All"/> is to hold for the tokens that follow.</summary>
    public int[] For(TokenBatch tokens) => Numbers(tokens, Totals(tokens));

    public void Dispose()
    {
        _slices.ForEach(slice => slice.Dispose());
        Spans.Dispose();
        All.Dispose();
        _rows?.Dispose();
        _localRows?.Dispose();
    }

    /// <summary>Real tokens of each sequence, those in the cache included.</summary>
    private int[] Totals(TokenBatch tokens)
    {
        _cache?.CheckNext(tokens);
        var totals = new int[Batch];
        for (int row = 0; row < Batch; row++)
        {
            (int first, int end) = Span(tokens, row);
            totals[row] = end - first;
        }

        if (_description.Positions is LearnedPositions && totals.Max() > _description.Context)
        {
            throw new ModelException(
                $"A text of {totals.Max()} tokens does not fit the model's {_description.Context} learned positions.", "Shorten the text.");
        }

        return totals;
    }

    /// <summary>A sequence's first key and the one past its last.</summary>
    private (int First, int End) Span(TokenBatch tokens, int row)
    {
        int past = _cache?.Length ?? 0;
        (int start, int end) = tokens.Spans[row];
        return (past == 0 ? start : _cache!.First[row], past + end);
    }

    private int[] Numbers(TokenBatch tokens, int[] totals)
    {
        if (_rotary is not null)
        {
            RotaryKeys = [.. totals.Select(total => (_rotary.LengthKey(total), _localRotary?.LengthKey(total) ?? 0))];
            _cache?.CheckRotation(RotaryKeys);
        }

        int past = _cache?.Length ?? 0, count = Batch * Length;
        var numbers = new int[4 * count + 2 * Batch + 2];
        Span<int> ids = numbers.AsSpan(0, count), places = numbers.AsSpan(count, count), rotated = numbers.AsSpan(2 * count, count);
        Span<int> locallyRotated = numbers.AsSpan(3 * count, count), spans = numbers.AsSpan(4 * count, 2 * Batch);
        for (int row = 0; row < Batch; row++)
        {
            (int first, int end) = Span(tokens, row);
            (spans[2 * row], spans[2 * row + 1]) = (first, end);
            for (int i = 0; i < Length; i++)
            {
                int at = row * Length + i;
                bool isReal = i >= tokens.Spans[row].First && i < tokens.Spans[row].End;

                // A sequence's positions count from its first real token. Padding has none, and gives zeros: −1 is no token.
                places[at] = isReal ? past + i - first : -1;
                ids[at] = isReal ? tokens.Ids[at] : -1;
                rotated[at] = isReal && _rows is not null ? places[at] + _rows.FirstRow[row] : -1;
                locallyRotated[at] = isReal && _localRows is not null ? places[at] + _localRows.FirstRow[row] : -1;
            }
        }

        (numbers[^2], numbers[^1]) = (past, past + Length);
        Positions = places.ToArray();
        return numbers;
    }
}
