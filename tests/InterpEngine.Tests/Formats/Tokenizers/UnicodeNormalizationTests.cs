using InterpEngine.Formats.Tokenizers;
using Xunit;

namespace InterpEngine.Tests.Formats.Tokenizers;

/// <summary>Normalization forms, with what each character stands for.</summary>
public sealed class UnicodeNormalizationTests
{
    [Theory]
    [InlineData("e\u0301", true, false, "\u00E9")]
    [InlineData("\u1E69", false, false, "s\u0323\u0307")]
    [InlineData("s\u0307\u0323", true, false, "\u1E69")]
    [InlineData("\uFB01\u2460\u00BD", true, true, "fi11\u20442")]
    [InlineData("\uD55C", false, false, "\u1112\u1161\u11AB")]
    [InlineData("\u1112\u1161\u11AB", true, false, "\uD55C")]
    [InlineData("\u212B", true, false, "\u00C5")]
    [InlineData("\u0958", true, false, "\u0915\u093C")]
    [InlineData("\u0301a", true, false, "\u0301a")]
    [InlineData("a\u0327\u0301", true, false, "\u00E1\u0327")]
    [InlineData("\U0001D15E", false, false, "\U0001D157\U0001D165")]
    public void Normalizes(string text, bool compose, bool compatibility, string expected)
    {
        NormalizedText source = NormalizedText.From(text);
        Assert.Equal(expected, source.Transform(UnicodeNormalization.Normalize(text, compatibility, compose)).Text);
    }

    [Fact]
    public void CharactersKnowTheirOrigin()
    {
        NormalizedText source = NormalizedText.From("xe\u0301\uFB01");
        NormalizedText result = source.Transform(UnicodeNormalization.Normalize(source.Text, compatibility: true, compose: true));
        Assert.Equal("x\u00E9fi", result.Text);
        Assert.Equal([new Origin(0, 1), new Origin(1, 2), new Origin(3, 4), new Origin(3, 4)], result.Origins.ToArray());
    }
}
