using System.Globalization;
using System.Text;

namespace InterpEngine.Cli.Scan;

/// <summary>Token text that cannot harm a terminal: it may hold control characters, or turn the direction of writing.</summary>
internal static class TokenDisplay
{
    /// <summary>The text with everything invisible spelled out.</summary>
    public static string Safe(string text)
    {
        var result = new StringBuilder();
        foreach (Rune rune in text.EnumerateRunes())
        {
            _ = rune.Value switch
            {
                '\n' => result.Append('↵'),
                '\t' => result.Append('⇥'),
                ' ' => result.Append(' '),
                _ when IsInvisible(rune) => result.Append(CultureInfo.InvariantCulture, $"<U+{rune.Value:X4}>"),
                _ => result.Append(rune.ToString()),
            };
        }

        return result.ToString();
    }

    /// <summary>The text in quotation marks, which show a leading space.</summary>
    public static string Quoted(string text) => $"'{Safe(text)}'";

    /// <summary>The text cut to a width.</summary>
    public static string Fit(string text, int width)
    {
        string safe = Safe(text);
        var elements = new StringInfo(safe);
        return elements.LengthInTextElements <= width ? safe : elements.SubstringByTextElements(0, width - 1) + "…";
    }

    private static bool IsInvisible(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse
        or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        or UnicodeCategory.SpaceSeparator;
}
