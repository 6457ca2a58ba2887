using InterpEngine.Formats;
using InterpEngine.Formats.Tokenizers;
using Xunit;

namespace InterpEngine.Tests.Formats.Tokenizers;

/// <summary>The regular expressions of tokenizer.json: code points, not UTF-16 units, in Oniguruma's syntax.</summary>
public sealed class RegexPatternTests
{
    [Theory]
    [InlineData(@"\p{L}+", "a\U0001D400\U00020000 b", "a\U0001D400\U00020000|b")]
    [InlineData(@"[^\s\p{L}]", "\U0001F600a", "\U0001F600")]
    [InlineData(@"\p{N}{1,3}", "12345\U0001D7D8", "123|45\U0001D7D8")]
    [InlineData(@"(?i:'s|'ll)", "'S 'LL '\u017F", "'S|'LL|'\u017F")]
    [InlineData(@"(?i)K|x", "\u212Akx", "\u212A|k|x")]
    [InlineData(@"\s+(?!\S)|\s+", "a   b  ", "  | |  ")]
    [InlineData(@"a++a|b", "aab", "b")]
    [InlineData(@"(?>a|ab)c|b", "abc", "b")]
    [InlineData(@"a*?b", "aab", "aab")]
    [InlineData(@"(?:ab){2,}", "ababab ab", "ababab")]
    [InlineData(@"a{,2}b", "aaab", "aab")]
    [InlineData(@"a{2}?b", "aabb", "aab|b")]
    [InlineData(@"a{x", "a{x", "a{x")]
    [InlineData(@"[a-c&&[^b]]+", "abcab", "a|ca")]
    [InlineData(@"[a[xy]\]-]+", "ax]-by", "ax]-|y")]
    [InlineData(@"[\x{41}-\u0043]+", "ABCD", "ABC")]
    [InlineData(@"^\w+$", "ab\ncd e\nf", "ab|f")]
    [InlineData(@"\bab\B.", "ab abc", "abc")]
    [InlineData(@"\Aa|a\z", "aaa", "a|a")]
    [InlineData(@"\p{^L}|\P{L}", "a1", "1")]
    [InlineData(@"[\p{L}&&[^\p{Han}]]+", "a\u4F60b\U00020000", "a|b")]
    [InlineData(@"(?m:.)|x", "\nx", "\n|x")]
    [InlineData(@"x*", "axb", "|x|")]
    public void Finds(string pattern, string text, string matches)
    {
        List<Stretch> stretches = new RegexPattern(pattern, "test").Partition(text);
        Assert.Equal(matches, string.Join('|', stretches.Where(part => part.IsMatch).Select(part => text[part.Start..part.End])));
        Assert.Equal(text, string.Concat(stretches.Select(part => text[part.Start..part.End])));
    }

    [Theory]
    [InlineData("(a")]
    [InlineData("a)")]
    [InlineData("[a")]
    [InlineData("*a")]
    [InlineData("(a*)*")]
    [InlineData("[b-a]")]
    [InlineData("a{3,2}")]
    [InlineData("a{9999}")]
    [InlineData("((a{999}){999}){999}")]
    [InlineData(@"\p{Klingon}")]
    [InlineData(@"\p{L")]
    [InlineData(@"\1")]
    [InlineData(@"(?<=a)b")]
    [InlineData(@"[[:alpha:]]")]
    [InlineData(@"\x{110000}")]
    [InlineData("\\")]
    public void RefusesWhatItCannotDo(string pattern)
    {
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => new RegexPattern(pattern, "test"));
        Assert.Contains($"the regular expression '{pattern}'", error.Defect, StringComparison.Ordinal);
    }

    [Fact]
    public void NestsOnlySoDeep() =>
        Assert.Throws<InvalidFileException>(() => new RegexPattern(new string('(', 5000) + new string(')', 5000), "test"));
}
