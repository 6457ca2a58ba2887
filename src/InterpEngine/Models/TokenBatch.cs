namespace InterpEngine.Models;

/// <summary>
/// Token ids [batch, length] with the real tokens of each sequence in one unbroken run: padding may stand before it (as generation
/// wants) or behind it. Padding changes nothing in the values of real tokens.
/// </summary>
public sealed class TokenBatch
{
    private readonly int[] _ids;
    private readonly int[] _types;
    private readonly (int First, int End)[] _spans;

    private TokenBatch(int[] ids, int batch, int length, (int First, int End)[] spans, int[]? types = null)
    {
        _ids = ids;
        _types = types ?? [];
        _spans = spans;
        Batch = batch;
        Length = length;
    }

    /// <summary>Sequences.</summary>
    public int Batch { get; }

    /// <summary>Tokens of each, padding included.</summary>
    public int Length { get; }

    /// <summary>The ids, row by row, with whatever stands at padding.</summary>
    public ReadOnlySpan<int> Ids => _ids;

    /// <summary>For each sequence, its first real token and the one past its last.</summary>
    public IReadOnlyList<(int First, int End)> Spans => _spans;

    /// <summary>Whether any sequence has padding.</summary>
    public bool IsPadded => _spans.Any(span => span != (0, Length));

    /// <summary>The ids of one sequence, without padding.</summary>
    public ReadOnlySpan<int> Sequence(int row) => _ids.AsSpan(row * Length + _spans[row].First, _spans[row].End - _spans[row].First);

    /// <summary>One sequence.</summary>
    /// <exception cref="ModelException">It is empty.</exception>
    public static TokenBatch Single(params ReadOnlySpan<int> ids) => Rectangle(ids, 1, ids.Length);

    /// <summary>Sequences of equal length, one after the other.</summary>
    /// <exception cref="ModelException">There are none, or they are empty.</exception>
    public static TokenBatch Rectangle(ReadOnlySpan<int> ids, int batch, int length)
    {
        CheckSize(ids, batch, length);
        return new TokenBatch(ids.ToArray(), batch, length, [.. Enumerable.Repeat((0, length), batch)]);
    }

    /// <summary>Sequences of any lengths, padded on the left.</summary>
    /// <exception cref="ModelException">There are none, or one is empty.</exception>
    public static TokenBatch LeftPadded(IReadOnlyList<int[]> sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        int length = sequences.Count == 0 ? 0 : sequences.Max(sequence => sequence.Length);
        var ids = new int[sequences.Count * length];
        var mask = new bool[ids.Length];
        for (int row = 0; row < sequences.Count; row++)
        {
            int first = length - sequences[row].Length;
            sequences[row].CopyTo(ids, row * length + first);
            mask.AsSpan(row * length + first, sequences[row].Length).Fill(true);
        }

        return Masked(ids, sequences.Count, length, mask);
    }

    /// <summary>Sequences with an attention mask: true at real tokens.</summary>
    /// <exception cref="ModelException">There are none, or a row's real tokens are none or not one unbroken run.</exception>
    public static TokenBatch Masked(ReadOnlySpan<int> ids, int batch, int length, ReadOnlySpan<bool> mask)
    {
        CheckSize(ids, batch, length);
        if (mask.Length != ids.Length)
        {
            throw new ModelException($"The attention mask has {mask.Length} entries; expected one for each of the {ids.Length} ids.");
        }

        var spans = new (int First, int End)[batch];
        for (int row = 0; row < batch; row++)
        {
            ReadOnlySpan<bool> real = mask.Slice(row * length, length);
            int first = real.IndexOf(true), end = real.LastIndexOf(true) + 1;
            if (first < 0)
            {
                throw new ModelException($"Row {row} of the attention mask has no real token.", "Leave the row out.");
            }

            if (real[first..end].Contains(false))
            {
                throw new ModelException(
                    $"The real tokens of row {row} of the attention mask are not one unbroken run.", "Pad on the left or on the right only.");
            }

            spans[row] = (first, end);
        }

        return new TokenBatch(ids.ToArray(), batch, length, spans);
    }

    /// <summary>The same tokens with their kinds, for models that tell them apart (BERT's first and second sentence); 0 unless told.</summary>
    /// <param name="types">One for each id, with anything at padding.</param>
    /// <exception cref="ModelException">There are not as many as ids.</exception>
    public TokenBatch WithTypes(params ReadOnlySpan<int> types) => types.Length == _ids.Length
        ? new TokenBatch(_ids, Batch, Length, _spans, types.ToArray())
        : throw new ModelException($"There are {types.Length} token types; expected one for each of the {_ids.Length} ids.");

    /// <summary>The kind of the i-th id.</summary>
    internal int TypeOf(int i) => _types.Length == 0 ? 0 : _types[i];

    internal void CheckTypes(int types)
    {
        for (int i = 0; i < _types.Length; i++)
        {
            (int row, int at) = Math.DivRem(i, Length);
            bool real = at >= _spans[row].First && at < _spans[row].End;
            if (real && (uint)_types[i] >= (uint)Math.Max(1, types))
            {
                throw new ModelException($"Token type {_types[i]} at row {row}, position {at} is unknown: the model has "
                    + (types == 0 ? "no token types." : $"{types} of them."));
            }
        }
    }

    internal void CheckVocabulary(int vocabulary)
    {
        for (int row = 0; row < Batch; row++)
        {
            for (int at = _spans[row].First; at < _spans[row].End; at++)
            {
                if ((uint)_ids[row * Length + at] >= (uint)vocabulary)
                {
                    throw new ModelException(
                        $"Token {_ids[row * Length + at]} at row {row}, position {at} is not in the model's vocabulary of {vocabulary}.",
                        "Were these ids made by another model's tokenizer?");
                }
            }
        }
    }

    private static void CheckSize(ReadOnlySpan<int> ids, int batch, int length)
    {
        if (batch <= 0 || length <= 0)
        {
            throw new ModelException($"A batch of {batch} sequences of {length} tokens cannot be run.", "Give at least one token.");
        }

        if (ids.Length != (long)batch * length)
        {
            throw new ModelException($"{ids.Length} ids do not make {batch} sequences of {length} tokens.");
        }
    }
}
