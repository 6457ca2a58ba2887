using System.Collections.Concurrent;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>The settings of a BPE model, as the file names them; an empty prefix or suffix is none.</summary>
internal sealed record BpeOptions(
    string Prefix, string Suffix, int? UnknownId, string UnknownToken, bool FuseUnknown, bool ByteFallback, bool IgnoreMerges);

/// <summary>
/// Byte pair encoding: characters are joined by the best-ranked merge, leftmost on ties, until none applies. A heap of candidates
/// makes that O(n log n) in the length of the pre-token; results of short pre-tokens are remembered.
/// </summary>
internal sealed class BpeModel(
    Vocabulary vocabulary, Dictionary<(int Left, int Right), BpeModel.Merge> merges, BpeOptions options)
    : TokenModel(vocabulary)
{
    private const int CacheEntries = 50_000, LongestCached = 64;

    private readonly ConcurrentDictionary<string, ModelToken[]> _cache = new(StringComparer.Ordinal);
    private int _cached;

    /// <summary>What a pair becomes; the lowest rank goes first.</summary>
    public readonly record struct Merge(int Rank, int Id);

    /// <inheritdoc/>
    public override void Tokenize(ReadOnlySpan<char> piece, List<ModelToken> output)
    {
        if (_cache.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(piece, out ModelToken[]? known))
        {
            output.AddRange(known);
            return;
        }

        if (options.IgnoreMerges && Vocabulary.Lookup.TryGetValue(piece, out string? whole, out int id))
        {
            output.Add(new ModelToken(id, whole, 0, System.Text.Encoding.UTF8.GetByteCount(piece)));
            return;
        }

        int first = output.Count;
        List<Symbol> symbols = Symbols(piece);
        MergeAll(symbols);
        int start = 0;
        foreach (Symbol symbol in symbols)
        {
            if (symbol.Bytes > 0)
            {
                string text = symbol.Id == options.UnknownId ? options.UnknownToken : Vocabulary.PieceOf(symbol.Id)!;
                output.Add(new ModelToken(symbol.Id, text, start, start + symbol.Bytes));
                start += symbol.Bytes;
            }
        }

        if (piece.Length <= LongestCached && Volatile.Read(ref _cached) < CacheEntries
            && _cache.TryAdd(piece.ToString(), [.. output.Skip(first)]))
        {
            Interlocked.Increment(ref _cached);
        }
    }

    /// <summary>The characters as pieces, or bytes, or unknown; what is none of these is dropped, as the format has it.</summary>
    private List<Symbol> Symbols(ReadOnlySpan<char> piece)
    {
        List<Symbol> symbols = new(piece.Length);
        int unknownBytes = 0;
        for (int at = 0; at < piece.Length;)
        {
            int length = char.IsHighSurrogate(piece[at]) ? 2 : 1;
            ReadOnlySpan<char> bare = piece.Slice(at, length);
            int bytes = System.Text.Encoding.UTF8.GetByteCount(bare);
            string prefix = at == 0 ? "" : options.Prefix;
            at += length;
            string suffix = at < piece.Length ? "" : options.Suffix;
            ReadOnlySpan<char> text = prefix.Length + suffix.Length == 0 ? bare : string.Concat(prefix, bare, suffix);
            if (Vocabulary.Lookup.TryGetValue(text, out int id))
            {
                AddUnknown(symbols, ref unknownBytes);
                symbols.Add(new Symbol(id, bytes));
            }
            else if (options.ByteFallback && ByteIds(text) is { } ids)
            {
                symbols.AddRange(ids.Select(fallback => new Symbol(fallback, 1)));
            }
            else if (options.UnknownId is not null)
            {
                if (!options.FuseUnknown)
                {
                    AddUnknown(symbols, ref unknownBytes);
                }

                unknownBytes += bytes;
            }
        }

        AddUnknown(symbols, ref unknownBytes);
        for (int i = 0; i < symbols.Count; i++)
        {
            symbols[i] = symbols[i] with { Previous = i - 1, Next = i + 1 < symbols.Count ? i + 1 : -1 };
        }

        return symbols;
    }

    private void AddUnknown(List<Symbol> symbols, ref int bytes)
    {
        if (bytes > 0)
        {
            symbols.Add(new Symbol(options.UnknownId!.Value, bytes));
            bytes = 0;
        }
    }

    private int[]? ByteIds(ReadOnlySpan<char> text)
    {
        byte[] bytes = new byte[System.Text.Encoding.UTF8.GetByteCount(text)];
        System.Text.Encoding.UTF8.GetBytes(text, bytes);
        int[] ids = new int[bytes.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            if (Vocabulary.IdOfByte(bytes[i]) is not int id)
            {
                return null;
            }

            ids[i] = id;
        }

        return ids;
    }

    /// <summary>Applies all merges in place; a symbol that was joined to its left neighbour is left with no bytes.</summary>
    private void MergeAll(List<Symbol> symbols)
    {
        PriorityQueue<(int At, int Id), (int Rank, int At)> queue = new();
        for (int i = 0; i < symbols.Count; i++)
        {
            Offer(i);
        }

        while (queue.TryDequeue(out (int At, int Id) candidate, out _))
        {
            Symbol left = symbols[candidate.At];
            if (left.Bytes == 0 || left.Next < 0)
            {
                continue;
            }

            Symbol right = symbols[left.Next];
            if (!merges.TryGetValue((left.Id, right.Id), out Merge merge) || merge.Id != candidate.Id)
            {
                continue;
            }

            symbols[left.Next] = right with { Bytes = 0 };
            symbols[candidate.At] = left with { Id = merge.Id, Bytes = left.Bytes + right.Bytes, Next = right.Next };
            if (right.Next >= 0)
            {
                symbols[right.Next] = symbols[right.Next] with { Previous = candidate.At };
            }

            Offer(left.Previous);
            Offer(candidate.At);
        }

        void Offer(int at)
        {
            if (at >= 0 && symbols[at].Next >= 0
                && merges.TryGetValue((symbols[at].Id, symbols[symbols[at].Next].Id), out Merge merge))
            {
                queue.Enqueue((at, merge.Id), (merge.Rank, at));
            }
        }
    }

    private readonly record struct Symbol(int Id, int Bytes)
    {
        public int Previous { get; init; }

        public int Next { get; init; }
    }
}
