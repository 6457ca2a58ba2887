using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// A tokenizer as its Hugging Face tokenizer.json describes it. It gives the ids, tokens and offsets that the reference library
/// gives; whatever it cannot do exactly it refuses when the file is loaded. Thread-safe.
/// </summary>
/// <remarks>
/// Written by hand since no .NET library reads these files: Microsoft.ML.Tokenizers takes vocabularies and merges, not pipelines,
/// and its regular expressions see UTF-16 units.
/// </remarks>
public sealed class Tokenizer
{
    private const long MaximumFileSize = 512L << 20;
    private const int MaximumDepth = 64;

    private readonly AddedTokens _added;
    private readonly Dictionary<string, int> _addedIds;
    private readonly PreTokenizer? _preTokenizer;
    private readonly TokenModel _model;
    private readonly PostProcessor _postProcessor;
    private readonly Decoder _decoder;
    private readonly Truncation? _truncation;
    private readonly Padding? _padding;

    private Tokenizer(JsonField file)
    {
        if (file.Optional("version") is { } version && version.AsString() != "1.0")
        {
            throw version.Fail($"the version '{version.AsString()}' is not supported; supported: 1.0");
        }

        List<AddedToken> added = AddedTokens.Read(file.Optional("added_tokens"));
        _addedIds = added.ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _model = TokenModel.Read(file.Required("model"), _addedIds);
        foreach (AddedToken token in added)
        {
            bool moved = _model.Vocabulary.IdOf(token.Content) is int id && id != token.Id;
            if (moved || (_model.Vocabulary.PieceOf(token.Id) is { } piece && piece != token.Content))
            {
                throw file.Fail($"added_tokens: '{token.Content}' has the id {token.Id}, against the vocabulary of the model");
            }
        }

        Normalizer? normalizer = file.Optional("normalizer") is { } given ? Normalizers.Read(given) : null;
        _added = new AddedTokens(added, normalizer);
        _preTokenizer = file.Optional("pre_tokenizer") is { } splitter ? PreTokenizers.Read(splitter) : null;
        _postProcessor = PostProcessor.Read(file.Optional("post_processor"));
        _decoder = Decoders.Read(file.Optional("decoder"));
        _truncation = file.Optional("truncation") is { } cut ? new Truncation(cut, _postProcessor.CountAdded(pair: false)) : null;
        _padding = file.Optional("padding") is { } padding ? new Padding(padding) : null;
        long highest = _model.Vocabulary.Ids.Concat(_added.Ids).Select(id => (long)unchecked((uint)id)).DefaultIfEmpty(-1).Max();
        VocabularySize = (int)Math.Min(highest + 1, int.MaxValue);
    }

    /// <summary>The highest id plus one; 2³¹−1 where that is more. Ids may have gaps, and a model more rows.</summary>
    public int VocabularySize { get; }

    /// <summary>Reads a tokenizer.</summary>
    /// <param name="path">A tokenizer.json, or the folder that holds it.</param>
    /// <exception cref="InvalidFileException">The file is missing, broken, or uses a component that is not supported.</exception>
    public static Tokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string file = Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path;
        try
        {
            long size = new FileInfo(file).Length;
            return size <= MaximumFileSize
                ? Parse(File.ReadAllBytes(file), file)
                : throw new InvalidFileException(file, $"{size} bytes, at most {MaximumFileSize} are read");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            const string hint = "Give the path of a tokenizer.json, or of the folder that holds it.";
            throw new InvalidFileException(file, $"cannot be read: {error.Message}", hint, error);
        }
    }

    /// <summary>Reads a tokenizer from memory.</summary>
    /// <param name="json">The bytes of a tokenizer.json.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="InvalidFileException">It is broken, or uses a component that is not supported.</exception>
    public static Tokenizer Parse(ReadOnlyMemory<byte> json, string name)
    {
        // Invalid UTF-8 would otherwise be met only where a string is read.
        if (!Utf8.IsValid(json.Span))
        {
            throw new InvalidFileException(name, "the file is no valid UTF-8");
        }

        using JsonDocument document = ParseJson(json, name);
        return new Tokenizer(JsonField.Root(document.RootElement, name));
    }

    /// <summary>Encodes a text.</summary>
    /// <param name="text">Any text; halves of surrogate pairs become U+FFFD.</param>
    /// <param name="addSpecialTokens">Whether the post-processor adds its tokens, such as a begin-of-text. Special tokens that
    /// the text itself spells are found in any case.</param>
    public Encoding Encode(string text, bool addSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        return PostProcess([Tokenize(text, 0)], addSpecialTokens);
    }

    /// <summary>Encodes two texts as one input.</summary>
    /// <param name="text">The first text.</param>
    /// <param name="pair">The second text.</param>
    /// <param name="addSpecialTokens">Whether the post-processor adds its tokens.</param>
    public Encoding Encode(string text, string pair, bool addSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(pair);
        return PostProcess([Tokenize(text, 0), Tokenize(pair, 1)], addSpecialTokens);
    }

    /// <summary>The text of some ids; an unknown id gives none. <see cref="TokenStream"/> takes them one by one.</summary>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens = false)
    {
        TokenStream stream = new(this, skipSpecialTokens);
        StringBuilder text = new();
        foreach (int id in ids)
        {
            text.Append(stream.Push(id));
        }

        return text.Append(stream.Flush()).ToString();
    }

    /// <summary>
    /// How one token reads within a text, for display: with its leading space, and U+FFFD for bytes that are no character.
    /// </summary>
    public string TokenText(int id)
    {
        const string before = "x";
        TextSink text = new();
        ITokenSink head = BeginDecoding(text);
        head.Write(before, ends: true);
        if (IdToToken(id) is { } token)
        {
            head.Write(token, ends: true);
        }

        head.Close();
        return text.Take()[before.Length..];
    }

    /// <summary>A token as the vocabulary spells it, or null where the id is unknown.</summary>
    public string? IdToToken(int id) => _added.TextOf(id) ?? _model.Vocabulary.PieceOf(id);

    /// <summary>The id of a token as the vocabulary or the list of added tokens spells it, or null.</summary>
    public int? TokenToId(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        return _addedIds.TryGetValue(token, out int id) ? id : _model.Vocabulary.IdOf(token);
    }

    /// <summary>Whether an id is that of a special token, such as begin-of-text.</summary>
    public bool IsSpecial(int id) => _added.IsSpecial(id);

    internal ITokenSink BeginDecoding(ITokenSink end) => _decoder(end);

    private static JsonDocument ParseJson(ReadOnlyMemory<byte> json, string name)
    {
        try
        {
            JsonDocumentOptions options = new() { MaxDepth = MaximumDepth, AllowDuplicateProperties = false };
            return JsonDocument.Parse(json, options);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The second kind is half of a surrogate pair in a name.
            throw new InvalidFileException(name, $"the file is no valid JSON: {error.Message}", inner: error);
        }
    }

    private List<EncodedToken> Tokenize(string text, int sequence)
    {
        List<EncodedToken> tokens = [];
        List<ModelToken> pieceTokens = [];
        foreach ((TextPiece part, int? id) in _added.Extract(NormalizedText.From(text)))
        {
            if (id is int added)
            {
                Origin whole = part.Length == 0 ? default : new Origin(part.Origins[0].Start, part.Origins[^1].End);
                tokens.Add(new EncodedToken(added, part.Text.ToString(), whole, sequence, sequence));
                continue;
            }

            foreach (TextPiece piece in _preTokenizer?.Invoke([part]) ?? [part])
            {
                pieceTokens.Clear();
                _model.Tokenize(piece.Text, pieceTokens);
                ByteCursor cursor = new(piece);
                foreach (ModelToken token in pieceTokens)
                {
                    tokens.Add(new EncodedToken(token.Id, token.Text, cursor.OriginOf(token), sequence, sequence));
                }
            }
        }

        return tokens;
    }

    private Encoding PostProcess(List<EncodedToken>[] texts, bool addSpecialTokens)
    {
        int added = addSpecialTokens ? _postProcessor.CountAdded(texts.Length == 2) : 0;
        List<List<EncodedToken>>[] windows = _truncation is null
            ? Array.ConvertAll(texts, text => new List<List<EncodedToken>> { text })
            : _truncation.Apply(texts, added);
        List<List<EncodedToken>> results =
            [.. Combinations(windows).Select(parts => _postProcessor.Apply(parts, addSpecialTokens))];
        _padding?.Apply(results);
        return new Encoding(results[0], [.. results.Skip(1).Select(result => new Encoding(result, []))]);
    }

    /// <summary>The first windows together, then each further one of the first text with every other, then the rest.</summary>
    private static IEnumerable<List<EncodedToken>[]> Combinations(List<List<EncodedToken>>[] windows)
    {
        if (windows.Length == 1)
        {
            return windows[0].Select(window => new[] { window });
        }

        var pairs = windows[0].SelectMany(_ => windows[1], (first, second) => new[] { first, second }).ToList();
        int seconds = windows[1].Count;
        return [pairs[0], .. pairs.Skip(seconds), .. pairs.Take(seconds).Skip(1)];
    }

    /// <summary>Walks over a piece in UTF-8 bytes, in which models count.</summary>
    private ref struct ByteCursor(TextPiece piece)
    {
        private readonly ReadOnlySpan<char> _text = piece.Text;
        private readonly ReadOnlySpan<Origin> _origins = piece.Origins;
        private int _at;
        private int _bytes;

        /// <summary>What a token stands for; tokens must be asked for in order.</summary>
        public Origin OriginOf(ModelToken token)
        {
            while (_at < _text.Length - 1 && _bytes + Length(_at) <= token.Start)
            {
                _bytes += Length(_at++);
            }

            int last = _at;
            for (int bytes = _bytes + Length(last); bytes < token.End && last < _text.Length - 1; bytes += Length(last))
            {
                last++;
            }

            return new Origin(_origins[_at].Start, _origins[last].End);
        }

        // Both halves of a surrogate pair count two bytes.
        private readonly int Length(int at) => _text[at] switch
        {
            < '\u0080' => 1,
            < '\u0800' => 2,
            >= '\uD800' and <= '\uDFFF' => 2,
            _ => 3,
        };
    }
}
