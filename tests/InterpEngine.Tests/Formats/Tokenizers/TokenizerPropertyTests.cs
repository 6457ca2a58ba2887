using System.Diagnostics;
using System.Text;
using CsCheck;
using InterpEngine.Formats.Tokenizers;
using Xunit;

namespace InterpEngine.Tests.Formats.Tokenizers;

/// <summary>What holds for every text: nothing is lost, offsets are sane, and streaming decodes as decoding does.</summary>
public sealed class TokenizerPropertyTests
{
    private const int LargeText = 1 << 20;

    private const string Odd = "\n\t'\u00E9\u0301\u4F60\uD83D\uDE00\u0130\u2581\uFFFD\u200D\u017F";

    private static readonly Gen<string> Texts = Gen.OneOf(
        Gen.Char[' ', '~'],
        Gen.Const(' '),
        Gen.Int[0, Odd.Length - 1].Select(i => Odd[i]),
        Gen.Char).Array[0, 40].Select(characters => new string(characters));

    /// <summary>Byte-level tokenizers without a normalizer, pre-tokenizers that drop nothing: decoding undoes encoding.</summary>
    public static TheoryData<string> Lossless => ["gpt2", "roberta", "llama3", "o200k", "codegen", "falcon", "deepseek"];

    public static TheoryData<string> All => [.. Goldens.Cases("tokenizers")];

    [Theory]
    [MemberData(nameof(Lossless))]
    public void DecodingUndoesEncoding(string name)
    {
        Tokenizer tokenizer = Load(name);
        Texts.Sample(text => tokenizer.Decode(tokenizer.Encode(text, false).Ids) == WellFormed(text), iter: 500, threads: 1);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void StreamingGivesWhatDecodingGives(string name)
    {
        Tokenizer tokenizer = Load(name);
        Gen.Int[-1, tokenizer.VocabularySize].Array[0, 30].Select(Gen.Bool).Sample(
            (ids, skip) =>
            {
                TokenStream stream = new(tokenizer, skip);
                string streamed = string.Concat(ids.Select(stream.Push)) + stream.Flush();
                return streamed == tokenizer.Decode(ids, skip);
            },
            iter: 300,
            threads: 1);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void OffsetsLieInTheTextAndLists(string name)
    {
        Tokenizer tokenizer = Load(name);
        Texts.Sample(
            text =>
            {
                var encoding = tokenizer.Encode(text);
                int length = WellFormed(text).EnumerateRunes().Count();
                Assert.All(encoding.Offsets, span => Assert.InRange(span.Start, 0, span.End));
                Assert.All(encoding.Offsets, span => Assert.InRange(span.End, 0, length));
                int count = encoding.Ids.Length;
                Assert.Equal(
                    [count, count, count, count, count],
                    [
                        encoding.Tokens.Length, encoding.Offsets.Length, encoding.TypeIds.Length, encoding.AttentionMask.Length,
                        encoding.SequenceIds.Length,
                    ]);
            },
            iter: 200,
            threads: 1);
    }

    [Fact]
    public void AStreamNeverBreaksACharacter()
    {
        Tokenizer tokenizer = Load("gpt2");
        TokenStream stream = new(tokenizer);
        string[] parts = [.. tokenizer.Encode("\U0001F600\u4F60x").Ids.Select(stream.Push)];
        Assert.True(parts.Length > 3);
        Assert.Equal("\U0001F600\u4F60x", string.Concat(parts));
        Assert.All(parts, part => Assert.DoesNotContain('\uFFFD', part));
        Assert.Equal("", stream.Flush());
    }

    [Theory]
    [InlineData("gpt2", "\u0120the", " the")]
    [InlineData("llama2", "\u2581the", " the")]
    [InlineData("t5", "\u2581the", " the")]
    [InlineData("bert-cased", "##e", "e")]
    [InlineData("bert-cased", "e", " e")]
    [InlineData("llama2", "<0xE4>", "\uFFFD")]
    public void TokensReadAsTheyDoWithinText(string name, string token, string text)
    {
        Tokenizer tokenizer = Load(name);
        int id = Assert.NotNull(tokenizer.TokenToId(token));
        Assert.Equal(token, tokenizer.IdToToken(id));
        Assert.Equal(text, tokenizer.TokenText(id));
        Assert.False(tokenizer.IsSpecial(id));
    }

    [Fact]
    public void ThreadsDoNotDisturbEachOther()
    {
        Tokenizer tokenizer = Load("llama3");
        string[] texts = [.. Enumerable.Range(0, 200).Select(i => $"The engine reads token {i * 7919} and the previous one.")];
        int[][] expected = [.. texts.Select(text => Load("llama3").Encode(text).Ids).Take(3)];
        int[][] found = [.. texts.AsParallel().AsOrdered().WithDegreeOfParallelism(4).Select(text => tokenizer.Encode(text).Ids)];
        Assert.Equal(expected, found.Take(3));
        Assert.Equal(texts, found.Select(ids => tokenizer.Decode(ids, skipSpecialTokens: true)));
    }

    /// <summary>A merge loop that scans is quadratic here and takes minutes; the time allowed is many times the heap's.</summary>
    [Theory]
    [InlineData("llama2")]
    [InlineData("unigram-bytefallback")]
    [InlineData("gpt2")]
    public void TimeGrowsWithTheText(string name)
    {
        Tokenizer tokenizer = Load(name);
        string text = string.Concat(Enumerable.Repeat("interpretability ", LargeText / 8 / 17)) + new string('a', LargeText / 8);
        var watch = Stopwatch.StartNew();
        Assert.NotEmpty(tokenizer.Encode(text).Ids);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(20), $"{text.Length} characters took {watch.Elapsed}");
    }

    private static Tokenizer Load(string name) => Tokenizer.Load(Goldens.Folder("tokenizers", name));

    private static string WellFormed(string text)
    {
        StringBuilder builder = new();
        foreach (Rune rune in text.EnumerateRunes())
        {
            builder.Append(rune);
        }

        return builder.ToString();
    }
}
