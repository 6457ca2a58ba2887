using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A token that a model made of a pre-token; its place is in UTF-8 bytes of the pre-token.</summary>
internal readonly record struct ModelToken(int Id, string Text, int Start, int End);

/// <summary>What cuts pre-tokens into pieces of a vocabulary.</summary>
internal abstract class TokenModel(Vocabulary vocabulary)
{
    public Vocabulary Vocabulary { get; } = vocabulary;

    /// <summary>Reads the model of a tokenizer.json.</summary>
    /// <param name="field">The model.</param>
    /// <param name="added">Ids of the added tokens, one of which may be the unknown token.</param>
    public static TokenModel Read(JsonField field, IReadOnlyDictionary<string, int> added)
    {
        string type = field.Type ?? GuessType(field);
        return type switch
        {
            "BPE" => BpeReader.Read(field, added),
            "Unigram" => UnigramModel.Read(field),
            "WordPiece" => WordPieceModel.Read(field),
            "WordLevel" => WordLevelModel.Read(field),
            _ => throw field.Fail($"the model type '{type}' is not supported; supported: BPE, Unigram, WordPiece, WordLevel"),
        };
    }

    /// <summary>Cuts one pre-token.</summary>
    public abstract void Tokenize(ReadOnlySpan<char> piece, List<ModelToken> output);

    /// <summary>The id of a model's unknown token, which must exist.</summary>
    protected static int UnknownId(JsonField field, string token, Vocabulary vocabulary) =>
        vocabulary.IdOf(token) ?? throw field.Fail($"the unknown token '{token}' is not in the vocabulary");

    // Files of old releases name no type.
    private static string GuessType(JsonField field) =>
        field.Optional("merges") is not null ? "BPE"
        : field.Optional("vocab") is { IsArray: true } ? "Unigram"
        : field.Optional("continuing_subword_prefix") is not null ? "WordPiece"
        : "WordLevel";
}

/// <summary>Whole words or the unknown token.</summary>
internal sealed class WordLevelModel : TokenModel
{
    private readonly string _unknown;
    private readonly int _unknownId;

    private WordLevelModel(Vocabulary vocabulary, string unknown, int unknownId)
        : base(vocabulary) => (_unknown, _unknownId) = (unknown, unknownId);

    public static WordLevelModel Read(JsonField field)
    {
        var vocabulary = Vocabulary.Read(field.Required("vocab"));
        string unknown = field.Optional("unk_token")?.AsString() ?? "<unk>";
        return new WordLevelModel(vocabulary, unknown, UnknownId(field, unknown, vocabulary));
    }

    public override void Tokenize(ReadOnlySpan<char> piece, List<ModelToken> output)
    {
        int bytes = System.Text.Encoding.UTF8.GetByteCount(piece);
        output.Add(Vocabulary.Lookup.TryGetValue(piece, out string? word, out int id)
            ? new ModelToken(id, word, 0, bytes)
            : new ModelToken(_unknownId, _unknown, 0, bytes));
    }
}

/// <summary>The longest piece first; a word that does not come out is one unknown token.</summary>
internal sealed class WordPieceModel : TokenModel
{
    private readonly string _unknown;
    private readonly int _unknownId;
    private readonly string _prefix;
    private readonly int _maximumLength;

    private WordPieceModel(Vocabulary vocabulary, string unknown, int unknownId, string prefix, int maximumLength)
        : base(vocabulary) => (_unknown, _unknownId, _prefix, _maximumLength) = (unknown, unknownId, prefix, maximumLength);

    public static WordPieceModel Read(JsonField field)
    {
        var vocabulary = Vocabulary.Read(field.Required("vocab"));
        string unknown = field.Optional("unk_token")?.AsString() ?? "[UNK]";
        return new WordPieceModel(
            vocabulary,
            unknown,
            UnknownId(field, unknown, vocabulary),
            field.Optional("continuing_subword_prefix")?.AsString() ?? "##",
            field.Optional("max_input_chars_per_word")?.AsCount() ?? 100);
    }

    public override void Tokenize(ReadOnlySpan<char> piece, List<ModelToken> output)
    {
        int first = output.Count, startByte = 0, runes = 0;
        foreach (Rune _ in piece.EnumerateRunes())
        {
            runes++;
        }

        for (int start = 0; start < piece.Length;)
        {
            string? text = null;
            int id = 0;
            int length = runes > _maximumLength ? 0 : Longest(piece[start..], start == 0 ? "" : _prefix, out text, out id);
            if (length == 0)
            {
                output.RemoveRange(first, output.Count - first);
                output.Add(new ModelToken(_unknownId, _unknown, 0, System.Text.Encoding.UTF8.GetByteCount(piece)));
                return;
            }

            int endByte = startByte + System.Text.Encoding.UTF8.GetByteCount(piece.Slice(start, length));
            output.Add(new ModelToken(id, text!, startByte, endByte));
            (start, startByte) = (start + length, endByte);
        }
    }

    private int Longest(ReadOnlySpan<char> rest, string prefix, out string? text, out int id)
    {
        Span<char> word = new char[prefix.Length + rest.Length];
        prefix.CopyTo(word);
        rest.CopyTo(word[prefix.Length..]);
        for (int length = rest.Length; length > 0; length--)
        {
            if (Vocabulary.Lookup.TryGetValue(word[..(prefix.Length + length)], out text, out id))
            {
                return length;
            }
        }

        (text, id) = (null, 0);
        return 0;
    }
}
