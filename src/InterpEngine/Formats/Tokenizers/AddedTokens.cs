using System.Buffers;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// A token that is found in the text itself, before the model sees it; the flags say how much white space it swallows, whether it
/// must stand alone, and whether it is looked for in the normalized text.
/// </summary>
internal sealed record AddedToken(
    int Id, string Content, bool SingleWord, bool SwallowsLeft, bool SwallowsRight, bool Normalized, bool Special);

/// <summary>The added tokens of a tokenizer.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<int, AddedToken> _tokens;
    private readonly Dictionary<int, string> _shown = [];
    private readonly Normalizer? _normalizer;
    private readonly PieceTrie _plain;
    private readonly PieceTrie _normalized;

    public AddedTokens(List<AddedToken> tokens, Normalizer? normalizer)
    {
        _normalizer = normalizer;
        _tokens = tokens.ToDictionary(token => token.Id);
        foreach (AddedToken token in tokens)
        {
            bool rewrite = token.Normalized && normalizer is not null;
            _shown[token.Id] = rewrite ? normalizer!(NormalizedText.From(token.Content)).Text : token.Content;
        }

        _plain = new PieceTrie(tokens.Where(token => !token.Normalized).Select(token => (token.Content, token.Id)));
        _normalized = new PieceTrie(tokens.Where(token => token.Normalized).Select(token => (_shown[token.Id], token.Id)));
    }

    public IReadOnlyCollection<int> Ids => _tokens.Keys;

    /// <summary>Reads the list; tokens without content, which no text holds, are left out.</summary>
    public static List<AddedToken> Read(JsonField? field)
    {
        Vocabulary unique = new();
        List<AddedToken> tokens = [];
        foreach (JsonField entry in field?.Items() ?? [])
        {
            AddedToken token = new(
                entry.Required("id").AsId(),
                entry.Required("content").AsString(),
                entry.Flag("single_word", false),
                entry.Flag("lstrip", false),
                entry.Flag("rstrip", false),
                entry.Flag("normalized", !entry.Flag("special", false)),
                entry.Flag("special", false));
            if (token.Content.Length > 0)
            {
                unique.Add(token.Content, token.Id, entry);
                tokens.Add(token);
            }
        }

        return tokens;
    }

    public bool IsSpecial(int id) => _tokens.TryGetValue(id, out AddedToken? token) && token.Special;

    /// <summary>How the token reads, after normalization where it is looked for there; null where the id is none.</summary>
    public string? TextOf(int id) => _shown.GetValueOrDefault(id);

    /// <summary>Cuts the added tokens out of the text and normalizes the rest.</summary>
    public List<(TextPiece Piece, int? Id)> Extract(NormalizedText text)
    {
        List<(TextPiece Piece, int? Id)> result = [], plain = [];
        Cut(text.All, _plain, plain);
        foreach ((TextPiece piece, int? id) in plain)
        {
            if (id is not null)
            {
                result.Add((piece, id));
            }
            else
            {
                Cut(_normalizer is null ? piece : _normalizer(piece.ToText()).All, _normalized, result);
            }
        }

        return result;
    }

    private void Cut(TextPiece piece, PieceTrie trie, List<(TextPiece Piece, int? Id)> output)
    {
        int done = 0;
        for (int from = 0; trie.Find(piece.Text, from) is var (start, length, id);)
        {
            int end = from = start + length;
            AddedToken token = _tokens[id];
            if (token.SingleWord && (EndsWithWord(piece.Text[..start]) || StartsWithWord(piece.Text[end..])))
            {
                continue;
            }

            start = token.SwallowsLeft ? Math.Min(Math.Max(done, piece.Text[..start].TrimEnd().Length), end) : start;
            end += token.SwallowsRight ? piece.Length - end - piece.Text[end..].TrimStart().Length : 0;
            if (start > done)
            {
                output.Add((piece.Slice(done, start - done), null));
            }

            output.Add((piece.Slice(start, end - start), id));
            done = end;
        }

        if (done < piece.Length)
        {
            output.Add((piece.Slice(done, piece.Length - done), null));
        }
    }

    private static bool EndsWithWord(ReadOnlySpan<char> text) =>
        Rune.DecodeLastFromUtf16(text, out Rune last, out _) == OperationStatus.Done && TextSplitting.IsWordOrJoiner(last);

    private static bool StartsWithWord(ReadOnlySpan<char> text) =>
        Rune.DecodeFromUtf16(text, out Rune first, out _) == OperationStatus.Done && TextSplitting.IsWordOrJoiner(first);
}
