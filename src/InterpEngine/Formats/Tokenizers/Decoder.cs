using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>Takes tokens, each in one or more chunks.</summary>
internal interface ITokenSink
{
    /// <summary>Takes a chunk of text.</summary>
    /// <param name="text">The chunk.</param>
    /// <param name="ends">Whether the token ends with it.</param>
    void Write(string text, bool ends);

    /// <summary>Says that all is written.</summary>
    void Close();
}

/// <summary>Begins a decoding: makes a sink that hands what it makes of the tokens to the next one.</summary>
internal delegate ITokenSink Decoder(ITokenSink next);

/// <summary>
/// Reads the decoders of a tokenizer.json. Whole and incremental decoding are one: each step hands on text as soon as no later
/// token can change it.
/// </summary>
internal static class Decoders
{
    private const string Supported = "BPEDecoder, ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip, WordPiece";

    /// <summary>Reads a decoder; none joins the tokens by spaces.</summary>
    public static Decoder Read(JsonField? given) => given is not { } field ? next => new JoinSink(next) : field.Type switch
    {
        "BPEDecoder" => ReadSuffix(field),
        "ByteFallback" => next => new ByteFallbackSink(next),
        "ByteLevel" => next => new ByteLevelSink(next),
        "Fuse" => next => new FuseSink(next),
        "Metaspace" => ReadMetaspace(field),
        "Replace" => ReadReplace(field),
        "Sequence" => ReadSequence(field),
        "Strip" => ReadStrip(field),
        "WordPiece" => ReadWordPiece(field),
        { } type => throw field.Fail($"the decoder type '{type}' is not supported; supported: {Supported}"),
        null => throw field.Fail("a decoder without a type"),
    };

    private static Decoder ReadSequence(JsonField field)
    {
        Decoder[] steps = [.. field.Required("decoders").Items().Select(step => Read(step))];
        return next => steps.Reverse().Aggregate(next, (sink, step) => step(sink));
    }

    private static Decoder ReadSuffix(JsonField field)
    {
        string suffix = field.Optional("suffix")?.AsString() ?? "</w>";
        return suffix.Length > 0 ? next => new SuffixSink(next, suffix) : throw field.Fail("an empty suffix");
    }

    private static Decoder ReadMetaspace(JsonField field)
    {
        string mark = field.Required("replacement").AsRune().ToString();
        bool prefixed = PreTokenizers.ReadPrependScheme(field) != "never";
        return next => new TokenwiseSink(next, (token, index) =>
            token.Replace(mark, index == 0 && prefixed ? "" : " ", StringComparison.Ordinal));
    }

    private static Decoder ReadReplace(JsonField field)
    {
        ITextPattern pattern = Normalizers.ReadPattern(field.Required("pattern"));
        string content = field.Required("content").AsString();
        bool singleUnit = field.Required("pattern").Optional("String")?.AsString().Length == 1;
        return next => new TokenwiseSink(next, (token, _) => Replace(token, pattern, content), wholeTokens: !singleUnit);
    }

    private static string Replace(string token, ITextPattern pattern, string content)
    {
        StringBuilder builder = new();
        foreach (Stretch stretch in pattern.Partition(token))
        {
            builder.Append(stretch.IsMatch ? content : token.AsSpan(stretch.Start, stretch.Length));
        }

        return builder.ToString();
    }

    private static Decoder ReadStrip(JsonField field)
    {
        Rune content = field.Required("content").AsRune();
        int start = field.Optional("start")?.AsCount() ?? 0, stop = field.Optional("stop")?.AsCount() ?? 0;
        return next => new StripSink(next, content.ToString(), start, stop);
    }

    private static Decoder ReadWordPiece(JsonField field)
    {
        string prefix = field.Optional("prefix")?.AsString() ?? "##";
        bool cleanUp = field.Flag("cleanup", true);
        return next => new TokenwiseSink(next, (token, index) =>
        {
            string text = index == 0 ? token
                : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..]
                : " " + token;
            return cleanUp ? CleanUp(text) : text;
        });
    }

    // One after the other, as the reference does.
    private static string CleanUp(string text) => new StringBuilder(text)
        .Replace(" .", ".").Replace(" ?", "?").Replace(" !", "!").Replace(" ,", ",").Replace(" ' ", "'").Replace(" n't", "n't")
        .Replace(" 'm", "'m").Replace(" do not", " don't").Replace(" 's", "'s").Replace(" 've", "'ve").Replace(" 're", "'re")
        .ToString();
}
