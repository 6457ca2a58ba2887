namespace InterpEngine.Formats.Tokenizers;

/// <summary>The most probable cut of the text into pieces, by dynamic programming; ties go to the cut found first.</summary>
internal sealed class UnigramModel : TokenModel
{
    private const double UnknownPenalty = 10;

    private readonly string _file;
    private readonly int? _unknownId;
    private readonly bool _byteFallback;
    private readonly double[] _scores;
    private readonly PieceTrie _trie;
    private readonly double _unknownScore;

    private UnigramModel(string file, Vocabulary vocabulary, double[] scores, int? unknownId, bool byteFallback)
        : base(vocabulary)
    {
        (_file, _scores, _unknownId, _byteFallback) = (file, scores, unknownId, byteFallback);
        _unknownScore = scores.DefaultIfEmpty().Min() - UnknownPenalty;
        _trie = new PieceTrie(vocabulary.Ids.Select(id => (vocabulary.PieceOf(id)!, id)));
    }

    public static UnigramModel Read(JsonField field)
    {
        Vocabulary vocabulary = new();
        List<double> scores = [];
        foreach (JsonField entry in field.Required("vocab").Items())
        {
            JsonField[] parts = [.. entry.Items()];
            if (parts.Length != 2)
            {
                throw entry.Fail("expected a piece and its score");
            }

            vocabulary.Add(parts[0].AsString(), scores.Count, entry);
            scores.Add(parts[1].AsNumber());
        }

        JsonField? unknown = field.Optional("unk_id");
        if (unknown is { } given && given.AsCount() >= scores.Count)
        {
            throw given.Fail($"the unknown token {given.AsCount()} is not in the vocabulary of {scores.Count} pieces");
        }

        return new UnigramModel(field.File, vocabulary, [.. scores], unknown?.AsCount(), field.Flag("byte_fallback", false));
    }

    /// <inheritdoc/>
    public override void Tokenize(ReadOnlySpan<char> piece, List<ModelToken> output)
    {
        int startByte = 0;
        foreach ((int start, int end) in BestCut(piece))
        {
            ReadOnlySpan<char> text = piece[start..end];
            byte[] bytes = new byte[System.Text.Encoding.UTF8.GetByteCount(text)];
            System.Text.Encoding.UTF8.GetBytes(text, bytes);
            int endByte = startByte + bytes.Length;
            if (Vocabulary.Lookup.TryGetValue(text, out string? known, out int id))
            {
                output.Add(new ModelToken(id, known, startByte, endByte));
            }
            else if (_byteFallback && bytes.All(value => Vocabulary.IdOfByte(value) is not null))
            {
                foreach (byte value in bytes)
                {
                    int fallback = Vocabulary.IdOfByte(value)!.Value;
                    output.Add(new ModelToken(fallback, Vocabulary.PieceOf(fallback)!, startByte, endByte));
                }
            }
            else
            {
                output.Add(new ModelToken(_unknownId!.Value, text.ToString(), startByte, endByte));
            }

            startByte = endByte;
        }
    }

    /// <summary>The best cut, with neighbouring unknown characters as one part.</summary>
    private List<(int Start, int End)> BestCut(ReadOnlySpan<char> piece)
    {
        Node[] best = new Node[piece.Length + 1];
        List<(int Length, int Id)> found = [];
        for (int start = 0; start < piece.Length;)
        {
            int runeLength = char.IsHighSurrogate(piece[start]) ? 2 : 1;
            found.Clear();
            _trie.Prefixes(piece[start..], found);
            foreach ((int length, int id) in found)
            {
                Relax(ref best[start + length], best[start].Score + _scores[id], start, id);
            }

            if (!found.Exists(match => match.Length == runeLength))
            {
                int unknown = _unknownId ?? throw new InvalidFileException(
                    _file, $"the model has no unknown token, which '{piece.Slice(start, runeLength)}' needs");
                Relax(ref best[start + runeLength], best[start].Score + _unknownScore, start, unknown);
            }

            start += runeLength;
        }

        List<(int Start, int End)> cut = [];
        bool afterUnknown = false;
        for (int end = piece.Length; end > 0; end = best[end].Start)
        {
            bool isUnknown = best[end].Id == _unknownId;
            if (isUnknown && afterUnknown)
            {
                cut[^1] = (best[end].Start, cut[^1].End);
            }
            else
            {
                cut.Add((best[end].Start, end));
            }

            afterUnknown = isUnknown;
        }

        cut.Reverse();
        return cut;
    }

    private static void Relax(ref Node node, double score, int start, int id)
    {
        if (!node.Reached || score > node.Score)
        {
            node = new Node(true, score, start, id);
        }
    }

    private readonly record struct Node(bool Reached, double Score, int Start, int Id);
}
