using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A step that splits pieces of text into smaller ones, which are tokenized each on its own.</summary>
internal delegate List<TextPiece> PreTokenizer(List<TextPiece> pieces);

/// <summary>Reads the pre-tokenizers of a tokenizer.json.</summary>
internal static class PreTokenizers
{
    private const string Supported = "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, "
        + "Sequence, Split, Whitespace, WhitespaceSplit";

    private const string Gpt2Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    private const string Words = @"[\w\x{200C}\x{200D}]+|[^\w\s\x{200C}\x{200D}]+";

    private static readonly CharacterPattern Spaces = new(TextSplitting.IsSpace);
    private static readonly CharacterPattern Marks = new(TextSplitting.IsPunctuation);

    public static PreTokenizer Read(JsonField field) => field.Type switch
    {
        "BertPreTokenizer" => pieces => Split(Spaces, SplitBehavior.Removed)(pieces) is var words
            ? Split(Marks, SplitBehavior.Isolated)(words)
            : [],
        "ByteLevel" => ReadByteLevel(field),
        "CharDelimiterSplit" => Split(new LiteralPattern(field.Required("delimiter").AsRune().ToString()), SplitBehavior.Removed),
        "Digits" => Split(
            new CharacterPattern(TextSplitting.IsNumeric),
            field.Flag("individual_digits", false) ? SplitBehavior.Isolated : SplitBehavior.Contiguous),
        "Metaspace" => ReadMetaspace(field),
        "Punctuation" => Split(
            Marks,
            field.Optional("behavior") is { } behavior ? ReadBehavior(behavior) : SplitBehavior.Isolated),
        "Sequence" => ReadSequence(field),
        "Split" => Split(
            Normalizers.ReadPattern(field.Required("pattern")),
            ReadBehavior(field.Required("behavior")),
            field.Flag("invert", false)),
        "Whitespace" => Split(new RegexPattern(Words, field.File), SplitBehavior.Removed, invert: true),
        "WhitespaceSplit" => Split(Spaces, SplitBehavior.Removed),
        { } type => throw field.Fail($"the pre-tokenizer type '{type}' is not supported; supported: {Supported}"),
        null => throw field.Fail("a pre-tokenizer without a type"),
    };

    /// <summary>How Metaspace marks the beginning of a text: at every piece, at the first only, or nowhere.</summary>
    /// <param name="field">A Metaspace pre-tokenizer or decoder; old files have a flag in place of the scheme.</param>
    public static string ReadPrependScheme(JsonField field)
    {
        string scheme = field.Optional("prepend_scheme")?.AsString()
            ?? (field.Flag("add_prefix_space", true) ? "always" : "never");
        return scheme is "always" or "first" or "never" ? scheme
            : throw field.Fail($"the prepend_scheme '{scheme}' is not supported; supported: always, first, never");
    }

    private static PreTokenizer Split(ITextPattern pattern, SplitBehavior behavior, bool invert = false) => pieces =>
    {
        List<TextPiece> output = new(pieces.Count);
        foreach (TextPiece piece in pieces)
        {
            TextSplitting.Split(piece, pattern, behavior, invert, output);
        }

        return output;
    };

    private static SplitBehavior ReadBehavior(JsonField field)
    {
        string name = field.AsString();
        string[] known = Enum.GetNames<SplitBehavior>();
        return known.Contains(name)
            ? Enum.Parse<SplitBehavior>(name)
            : throw field.Fail($"the behavior '{name}' is not supported; supported: {string.Join(", ", known)}");
    }

    private static PreTokenizer ReadSequence(JsonField field)
    {
        PreTokenizer[] steps = [.. field.Required("pretokenizers").Items().Select(Read)];
        return pieces => steps.Aggregate(pieces, (current, step) => step(current));
    }

    private static PreTokenizer ReadByteLevel(JsonField field)
    {
        bool prefix = field.Flag("add_prefix_space", true);
        PreTokenizer? words = field.Flag("use_regex", true)
            ? Split(new RegexPattern(Gpt2Words, field.File), SplitBehavior.Isolated)
            : null;
        return pieces =>
        {
            pieces = prefix ? pieces.ConvertAll(WithSpace) : pieces;
            return ToBytes(words is null ? pieces : words(pieces));
        };
    }

    private static TextPiece WithSpace(TextPiece piece) => piece.Text is [' ', ..] ? piece : piece.ToText().Prepend(" ").All;

    /// <summary>Maps all pieces to bytes; they become parts of one new text.</summary>
    private static List<TextPiece> ToBytes(List<TextPiece> pieces)
    {
        NormalizedText.Builder builder = new(pieces.Sum(piece => piece.Length));
        List<int> ends = new(pieces.Count);
        Origin origin = default;
        Action<int> append = character => builder.Append(character, origin);
        foreach (TextPiece piece in pieces)
        {
            int at = 0;
            foreach (Rune rune in piece.Text.EnumerateRunes())
            {
                origin = piece.Origins[at];
                ByteAlphabet.Encode(rune, append);
                at += rune.Utf16SequenceLength;
            }

            ends.Add(builder.Length);
        }

        NormalizedText text = builder.Build();
        return [.. ends.Select((end, i) => new TextPiece(text, i == 0 ? 0 : ends[i - 1], end - (i == 0 ? 0 : ends[i - 1])))];
    }

    private static PreTokenizer ReadMetaspace(JsonField field)
    {
        string mark = field.Required("replacement").AsRune().ToString();
        string scheme = ReadPrependScheme(field);
        LiteralPattern space = new(" ");
        PreTokenizer? split = field.Flag("split", true) ? Split(new LiteralPattern(mark), SplitBehavior.MergedWithNext) : null;
        return pieces =>
        {
            List<TextPiece> marked = [.. pieces.Select(piece =>
            {
                NormalizedText text = piece.ToText().Replace(space, mark);
                bool prepend = scheme == "always" || (scheme == "first" && piece.BeginsText);
                return (prepend && !text.Text.StartsWith(mark, StringComparison.Ordinal) ? text.Prepend(mark) : text).All;
            })];
            return split is null ? marked : split(marked);
        };
    }
}
