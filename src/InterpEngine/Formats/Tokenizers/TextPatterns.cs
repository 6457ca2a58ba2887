using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A part of a text that a pattern matched, or one between matches; in UTF-16 units.</summary>
internal readonly record struct Stretch(int Start, int End, bool IsMatch)
{
    public int Length => End - Start;
}

/// <summary>Something that finds matches in a text.</summary>
internal interface ITextPattern
{
    /// <summary>The matches and what lies between them, in order, covering the text.</summary>
    List<Stretch> Partition(ReadOnlySpan<char> text);
}

/// <summary>A fixed string; an empty one never matches.</summary>
internal sealed class LiteralPattern(string literal) : ITextPattern
{
    public List<Stretch> Partition(ReadOnlySpan<char> text)
    {
        List<Stretch> stretches = [];
        int done = 0;
        for (int at = Find(text, 0); at >= 0; at = Find(text, done))
        {
            if (at > done)
            {
                stretches.Add(new Stretch(done, at, false));
            }

            done = at + literal.Length;
            stretches.Add(new Stretch(at, done, true));
        }

        if (done < text.Length)
        {
            stretches.Add(new Stretch(done, text.Length, false));
        }

        return stretches;
    }

    private int Find(ReadOnlySpan<char> text, int from)
    {
        int at = literal.Length == 0 ? -1 : text[from..].IndexOf(literal, StringComparison.Ordinal);
        return at < 0 ? -1 : from + at;
    }
}

/// <summary>Single characters of a kind; each is a match of its own.</summary>
internal sealed class CharacterPattern(Func<Rune, bool> matches) : ITextPattern
{
    public List<Stretch> Partition(ReadOnlySpan<char> text)
    {
        List<Stretch> stretches = [];
        int done = 0, at = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            int end = at + rune.Utf16SequenceLength;
            if (matches(rune))
            {
                if (at > done)
                {
                    stretches.Add(new Stretch(done, at, false));
                }

                stretches.Add(new Stretch(at, end, true));
                done = end;
            }

            at = end;
        }

        if (done < text.Length)
        {
            stretches.Add(new Stretch(done, text.Length, false));
        }

        return stretches;
    }
}

/// <summary>What becomes of the matches when a text is split by a pattern.</summary>
internal enum SplitBehavior
{
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// <summary>Splitting by patterns, and the character kinds that the format speaks of.</summary>
internal static class TextSplitting
{
    /// <summary>Splits a piece and adds what remains.</summary>
    public static void Split(TextPiece piece, ITextPattern pattern, SplitBehavior behavior, bool invert, List<TextPiece> output)
    {
        int first = output.Count;
        bool afterMatch = false;
        List<Stretch> stretches = pattern.Partition(piece.Text);
        for (int i = 0; i < stretches.Count; i++)
        {
            bool isMatch = stretches[i].IsMatch != invert;
            bool joinsLast = output.Count > first && behavior switch
            {
                SplitBehavior.MergedWithPrevious => isMatch && !afterMatch,
                SplitBehavior.MergedWithNext => afterMatch && !isMatch,
                SplitBehavior.Contiguous => isMatch == afterMatch,
                _ => false,
            };
            TextPiece part = piece.Slice(stretches[i].Start, stretches[i].Length);
            if (joinsLast)
            {
                output[^1] = output[^1] with { Length = output[^1].Length + part.Length };
            }
            else if (!(isMatch && behavior == SplitBehavior.Removed) && part.Length > 0)
            {
                output.Add(part);
            }

            afterMatch = isMatch;
        }
    }

    /// <summary>The white space of Unicode, as <c>\s</c>.</summary>
    public static bool IsSpace(Rune rune) => Rune.IsWhiteSpace(rune);

    /// <summary>Unicode's general category Nd, Nl or No.</summary>
    public static bool IsNumeric(Rune rune) => Rune.IsNumber(rune);

    /// <summary>Any category P, and the ASCII symbols.</summary>
    public static bool IsPunctuation(Rune rune) => Rune.IsPunctuation(rune) || (rune.IsAscii && Rune.IsSymbol(rune));

    /// <summary>
    /// <c>\w</c> after UTS 18 less its two joiners: Alphabetic, marks, decimal digits, connectors. Alphabetic is letters, Nl and
    /// some marks, and four ranges of circled and squared letters.
    /// </summary>
    public static bool IsWord(int rune) => CharUnicodeInfo.GetUnicodeCategory(rune) switch
    {
        <= UnicodeCategory.LetterNumber => true,
        UnicodeCategory.ConnectorPunctuation => true,
        UnicodeCategory.OtherSymbol => rune is (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149)
            or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
        _ => false,
    };

    /// <summary><c>\w</c> with the zero-width joiner and non-joiner.</summary>
    public static bool IsWordOrJoiner(Rune rune) => IsWord(rune.Value) || rune.Value is 0x200C or 0x200D;
}
