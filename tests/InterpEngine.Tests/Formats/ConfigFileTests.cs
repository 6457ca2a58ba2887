using System.Text;
using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests.Formats;

public class ConfigFileTests
{
    [Fact]
    public void ValuesAreReadByType()
    {
        ConfigFile config = Parse("""
            {"n_layer": 2, "eps": 1e-5, "theta": 10000, "tie": true, "off": false, "act": "gelu", "pad": -1, "gone": null,
             "ints": [1, 2], "doubles": [1, 0.5], "texts": ["a", "é"], "rope": {"factor": 8.0}}
            """);
        Assert.Equal(2, config.Int("n_layer"));
        Assert.Equal(1e-5, config.Double("eps"));
        Assert.Equal(10000, config.Double("theta"));
        Assert.True(config.Bool("tie", false));
        Assert.False(config.Bool("off", true));
        Assert.True(config.Bool("absent", true));
        Assert.Equal("gelu", config.String("act"));
        Assert.Equal(-1, config.OptionalInt("pad", minimum: int.MinValue));
        Assert.Null(config.OptionalInt("gone"));
        Assert.Null(config.OptionalDouble("absent"));
        Assert.Null(config.OptionalString("absent"));
        Assert.Equal([1, 2], config.Ints("ints"));
        Assert.Equal([1, 0.5], config.Doubles("doubles"));
        Assert.Equal(["a", "é"], config.Strings("texts"));
        Assert.Equal(8, config.Object("rope").Double("factor"));
        Assert.Equal(8, config.Element("rope").GetProperty("factor").GetDouble());
        Assert.Empty(config.UnreadKeys());
    }

    [Fact]
    public void ANullCountsAsAbsent()
    {
        ConfigFile config = Parse("""{"a": null, "b": 0}""");
        Assert.False(config.Has("a"));
        Assert.False(config.Has("c"));
        Assert.True(config.Has("b"));
        Assert.True(config.Bool("a", true));
        Assert.Equal("config.json: 'a' is missing; expected a positive integer below 2³¹", Refused(() => config.Int("a")));
        Assert.Equal(["b"], config.UnreadKeys());
    }

    [Fact]
    public void UnreadKeysAreFoundAtEveryDepth()
    {
        ConfigFile config = Parse("""{"a": 1, "b": 2, "in": {"c": 3, "d": 4, "deep": {"e": 5}}, "other": {"f": 6}}""");
        config.Int("a");
        config.Object("in").Int("c");
        config.Object("in").Object("deep");
        Assert.Equal(["b", "in.d", "in.deep.e", "other"], config.UnreadKeys());
    }

    [Theory]
    [InlineData("\"four\"", "config.json: 'n_head' is \"four\"; expected a positive integer below 2³¹")]
    [InlineData("0", "config.json: 'n_head' is 0; expected a positive integer below 2³¹")]
    [InlineData("1.0", "config.json: 'n_head' is 1.0; expected a positive integer below 2³¹")]
    [InlineData("1e0", "config.json: 'n_head' is 1e0; expected a positive integer below 2³¹")]
    [InlineData("true", "config.json: 'n_head' is true; expected a positive integer below 2³¹")]
    [InlineData("2147483648", "config.json: 'n_head' is 2147483648; expected a positive integer below 2³¹")]
    public void IntegersAreExact(string value, string message) =>
        Assert.Equal(message, Refused(() => Parse($$"""{"n_head": {{value}}}""").Int("n_head")));

    [Fact]
    public void ErrorsNameTheirPlace()
    {
        ConfigFile config = Parse("""{"rope": {"factors": [1, 1e999]}, "x": [1], "big": 1e999, "name": 3}""");
        Assert.Equal(
            "config.json: 'rope.factors[1]' is 1e999; expected a finite number",
            Refused(() => config.Object("rope").Doubles("factors")));
        Assert.Equal("config.json: 'x' is [1]; expected an object", Refused(() => config.Object("x")));
        Assert.Equal("config.json: 'big' is 1e999; expected a finite number", Refused(() => config.Double("big")));
        Assert.Equal("config.json: 'name' is 3; expected a string", Refused(() => config.String("name")));
        Assert.Equal("config.json: 'name' is 3; expected true or false", Refused(() => config.Bool("name", true)));
        Assert.Equal("config.json: 'name' is 3; expected an array", Refused(() => config.Ints("name")));
        Assert.Equal("config.json: 'name' is 3; expected gelu", config.Unexpected("name", "gelu").Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("{}{}")]
    [InlineData("""{"a": 1, "a": 2}""")]
    [InlineData("""{"a": 1, "\u0061": 2}""")]
    [InlineData("""{"x": [{"a": 1, "a": 2}]}""")]
    [InlineData("""{"a": NaN}""")]
    [InlineData("""{"a": 1,}""")]
    [InlineData("""{"a": "\ud800"}""")]
    [InlineData("""{"\udc00": 1}""")]
    [InlineData("\uFEFF{}")]
    [InlineData("{} // no")]
    public void LaxJsonIsRefused(string json) =>
        Assert.StartsWith("config.json: ", Refused(() => Parse(json)), StringComparison.Ordinal);

    [Fact]
    public void DepthIsBounded()
    {
        string nested = new string('[', 100_000) + new string(']', 100_000);
        Refused(() => Parse($$"""{"ignored": {{nested}}}"""));
        Refused(() => Parse($$"""{"ignored": {{new string('[', 100_000)}}"""));
    }

    [Fact]
    public void BytesThatAreNoUtf8AreRefused() =>
        Assert.Contains(
            "UTF-8",
            Refused(() => ConfigFile.Parse(Encoding.Latin1.GetBytes("{\"\u00FF\":1}"), "config.json")),
            StringComparison.Ordinal);

    [Fact]
    public void AMissingFileIsNamed() =>
        Assert.Contains("no such file", Refused(() => ConfigFile.Load("missing/config.json")), StringComparison.Ordinal);

    private static ConfigFile Parse(string json) => ConfigFile.Parse(Encoding.UTF8.GetBytes(json), "config.json");

    private static string Refused(Action read) => Assert.Throws<InvalidFileException>(read).Message;

    private static string Refused(Func<object?> read) => Assert.Throws<InvalidFileException>(read).Message;
}
