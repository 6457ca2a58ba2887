using System.Text.Json;
using InterpEngine.Formats.Tokenizers;
using Xunit;

namespace InterpEngine.Tests.Formats.Tokenizers;

/// <summary>Every folder below the goldens' tokenizers is loaded, and everything in its cases.json is compared.</summary>
public sealed class TokenizerGoldenTests(ITestOutputHelper output)
{
    private static readonly string[] KnownCaseFields =
    [
        "text", "ids", "tokens", "offsets", "ids_with_special", "type_ids_with_special", "attention_mask_with_special",
        "overflowing_ids", "decoded", "decoded_skip_special",
    ];

    // What the family's other library says; it is there to be read.
    private static readonly string[] InformativeCaseFields = ["sentencepiece_ids", "sentencepiece_agrees"];

    private static readonly string[] KnownPairFields = ["text", "pair", "ids", "type_ids", "offsets", "sequence_ids"];

    public static TheoryData<string> Cases => [.. Goldens.Cases("tokenizers")];

    [Fact]
    public void ThereAreCases() => Assert.NotEmpty(Cases);

    [Theory]
    [MemberData(nameof(Cases))]
    public void AgreesWithTheReference(string name)
    {
        Comparison comparison = new();
        var tokenizer = Tokenizer.Load(Goldens.Folder("tokenizers", name));
        using var file = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("tokenizers", name, "cases.json")));
        JsonElement root = file.RootElement;

        HashSet<int> tokenIds = [];
        int strings = 0;
        foreach (JsonElement item in root.GetProperty("cases").EnumerateArray())
        {
            CompareText(tokenizer, item, comparison, tokenIds);
            strings++;
        }

        int pairs = 0;
        foreach (JsonElement item in root.GetProperty("pairs").EnumerateArray())
        {
            ComparePair(tokenizer, item, comparison);
            pairs++;
        }

        int size = root.GetProperty("vocab_size").GetInt32();
        comparison.Equal("vocab_size", name, size, tokenizer.VocabularySize);
        Assert.All(tokenIds, id => Assert.InRange(id, 0, size - 1));
        output.WriteLine($"{name}: {strings} strings and {pairs} pairs, {comparison.Count} values");
        comparison.AssertNoDifferences();
    }

    private static void CompareText(Tokenizer tokenizer, JsonElement item, Comparison comparison, HashSet<int> tokenIds)
    {
        string text = item.GetProperty("text").GetString()!;
        RefuseUnknownFields(item, [.. KnownCaseFields, .. InformativeCaseFields]);
        Encoding plain = tokenizer.Encode(text, addSpecialTokens: false);
        Encoding full = tokenizer.Encode(text);
        tokenIds.UnionWith(full.Ids);

        comparison.Equal("ids", text, Read(item.GetProperty("ids")), Write(plain.Ids));
        comparison.Equal("tokens", text, Read(item.GetProperty("tokens")), JsonSerializer.Serialize(plain.Tokens));
        comparison.Equal("offsets", text, Read(item.GetProperty("offsets")), Write(plain.Offsets));
        comparison.Equal("ids_with_special", text, Read(item.GetProperty("ids_with_special")), Write(full.Ids));
        comparison.Equal(
            "type_ids", text, Read(item, "type_ids_with_special") ?? Write(full.Ids.Select(_ => 0)), Write(full.TypeIds));
        comparison.Equal(
            "attention_mask",
            text,
            Read(item, "attention_mask_with_special") ?? Write(full.Ids.Select(_ => 1)),
            Write(full.AttentionMask));
        comparison.Equal(
            "overflowing_ids",
            text,
            Read(item, "overflowing_ids") ?? "[]",
            JsonSerializer.Serialize(plain.Overflowing.Select(part => part.Ids)));
        comparison.Equal("decoded", text, item.GetProperty("decoded").GetString(), tokenizer.Decode(full.Ids));
        comparison.Equal(
            "decoded_skip_special", text, item.GetProperty("decoded_skip_special").GetString(), tokenizer.Decode(full.Ids, true));
    }

    private static void ComparePair(Tokenizer tokenizer, JsonElement item, Comparison comparison)
    {
        RefuseUnknownFields(item, KnownPairFields);
        (string text, string pair) = (item.GetProperty("text").GetString()!, item.GetProperty("pair").GetString()!);
        string where = $"{text} + {pair}";
        Encoding encoding = tokenizer.Encode(text, pair);
        comparison.Equal("pair ids", where, Read(item.GetProperty("ids")), Write(encoding.Ids));
        comparison.Equal("pair type_ids", where, Read(item.GetProperty("type_ids")), Write(encoding.TypeIds));
        comparison.Equal("pair offsets", where, Read(item.GetProperty("offsets")), Write(encoding.Offsets));
        comparison.Equal(
            "pair sequence_ids",
            where,
            Read(item.GetProperty("sequence_ids")).Replace("null", "-1"),
            Write(encoding.SequenceIds));
    }

    private static void RefuseUnknownFields(JsonElement item, string[] known) =>
        Assert.All(item.EnumerateObject(), field => Assert.Contains(field.Name, known));

    private static string Read(JsonElement value) => JsonSerializer.Serialize(value);

    private static string? Read(JsonElement item, string name) =>
        item.TryGetProperty(name, out JsonElement value) ? Read(value) : null;

    private static string Write(IEnumerable<int> values) => $"[{string.Join(',', values)}]";

    private static string Write(IEnumerable<(int Start, int End)> spans) =>
        $"[{string.Join(',', spans.Select(span => $"[{span.Start},{span.End}]"))}]";

    private sealed class Comparison
    {
        private readonly List<string> _differences = [];

        public int Count { get; private set; }

        public void Equal<T>(string what, string where, T expected, T actual)
        {
            Count++;
            if (!EqualityComparer<T>.Default.Equals(expected, actual))
            {
                _differences.Add($"{what} of {JsonSerializer.Serialize(where)}:\n  expected {expected}\n  found    {actual}");
            }
        }

        public void AssertNoDifferences() =>
            Assert.True(
                _differences.Count == 0,
                $"{_differences.Count} of {Count} differ:\n{string.Join('\n', _differences.Take(8))}");
    }
}
