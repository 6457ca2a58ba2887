using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A step that rewrites the text before it is split.</summary>
internal delegate NormalizedText Normalizer(NormalizedText text);

/// <summary>Reads the normalizers of a tokenizer.json.</summary>
internal static class Normalizers
{
    private const string Supported = "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, "
        + "Prepend, Replace, Sequence, Strip, StripAccents";

    public static Normalizer Read(JsonField field) => field.Type switch
    {
        "BertNormalizer" => ReadBert(field),
        "ByteLevel" => text => text.Map(ByteAlphabet.Encode),
        "Lowercase" => Lowercase,
        "NFC" => Form(compatibility: false, compose: true),
        "NFD" => Form(compatibility: false, compose: false),
        "NFKC" => Form(compatibility: true, compose: true),
        "NFKD" => Form(compatibility: true, compose: false),
        "Nmt" => Nmt,
        "Precompiled" => ReadPrecompiled(field),
        "Prepend" => ReadPrepend(field),
        "Replace" => ReadReplace(field),
        "Sequence" => ReadSequence(field),
        "Strip" => ReadStrip(field),
        "StripAccents" => text => text.Where(rune => Rune.GetUnicodeCategory(rune)
            is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark)),
        { } type => throw field.Fail($"the normalizer type '{type}' is not supported; supported: {Supported}"),
        null => throw field.Fail("a normalizer without a type"),
    };

    /// <summary>Reads a pattern: <c>{"String": …}</c> or <c>{"Regex": …}</c>.</summary>
    public static ITextPattern ReadPattern(JsonField field) =>
        field.Optional("String") is { } literal ? new LiteralPattern(literal.AsString())
        : field.Optional("Regex") is { } regex ? new RegexPattern(regex.AsString(), field.File)
        : throw field.Fail("expected a pattern of kind 'String' or 'Regex'");

    private static Normalizer Form(bool compatibility, bool compose) => text =>
        Ascii.IsValid(text.Text) ? text : text.Transform(UnicodeNormalization.Normalize(text.Text, compatibility, compose));

    // Character by character, with the one full mapping that is longer: the platform maps İ to itself.
    private static NormalizedText Lowercase(NormalizedText text) => text.Map((rune, append) =>
    {
        if (rune.Value == 0x130)
        {
            append('i');
            append(0x307);
        }
        else
        {
            append(Rune.ToLowerInvariant(rune).Value);
        }
    });

    private static Normalizer ReadSequence(JsonField field)
    {
        Normalizer[] steps = [.. field.Required("normalizers").Items().Select(Read)];
        return text => steps.Aggregate(text, (current, step) => step(current));
    }

    private static Normalizer ReadPrepend(JsonField field)
    {
        string prefix = field.Required("prepend").AsString();
        return text => text.Prepend(prefix);
    }

    private static Normalizer ReadReplace(JsonField field)
    {
        ITextPattern pattern = ReadPattern(field.Required("pattern"));
        string content = field.Required("content").AsString();
        return text => text.Replace(pattern, content);
    }

    private static Normalizer ReadPrecompiled(JsonField field)
    {
        CharacterMap map = new(field.Required("precompiled_charsmap"));
        return map.Normalize;
    }

    private static Normalizer ReadStrip(JsonField field)
    {
        bool left = field.Flag("strip_left", true), right = field.Flag("strip_right", true);
        return text =>
        {
            int start = left ? text.Text.Length - text.Text.AsSpan().TrimStart().Length : 0;
            int end = right ? text.Text.AsSpan(start).TrimEnd().Length + start : text.Text.Length;
            return text.All.Slice(start, end - start).ToText();
        };
    }

    private static NormalizedText Nmt(NormalizedText text) => text.Map((rune, append) =>
    {
        switch (rune.Value)
        {
            case (>= 1 and <= 8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F or 0x8F or 0x9F:
                break;
            case 9 or 0xA or 0xC or 0xD or 0x1680 or (>= 0x200B and <= 0x200F) or 0x2028 or 0x2029 or 0x2581 or 0xFEFF or 0xFFFD:
                append(' ');
                break;
            default:
                append(rune.Value);
                break;
        }
    });

    private static Normalizer ReadBert(JsonField field)
    {
        bool clean = field.Flag("clean_text", true), chinese = field.Flag("handle_chinese_chars", true);
        bool lowercase = field.Flag("lowercase", true), strip = field.Flag("strip_accents", lowercase);
        Normalizer decompose = Form(compatibility: false, compose: false);
        return text =>
        {
            text = clean ? text.Map(CleanForBert) : text;
            text = chinese ? text.Map(SpaceChinese) : text;
            text = strip ? decompose(text).Where(rune => Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark) : text;
            return lowercase ? Lowercase(text) : text;
        };
    }

    private static void CleanForBert(Rune rune, Action<int> append)
    {
        bool control = Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse;
        if (rune.Value is '\t' or '\n' or '\r')
        {
            append(' ');
        }
        else if (rune.Value is not (0 or 0xFFFD) && !control)
        {
            append(Rune.IsWhiteSpace(rune) ? ' ' : rune.Value);
        }
    }

    private static void SpaceChinese(Rune rune, Action<int> append)
    {
        bool chinese = rune.Value is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF)
            or (>= 0x2A700 and <= 0x2B73F) or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF)
            or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);
        if (chinese)
        {
            append(' ');
        }

        append(rune.Value);
        if (chinese)
        {
            append(' ');
        }
    }
}
