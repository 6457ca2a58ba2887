using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Formats.Tokenizers;
using Xunit;

namespace InterpEngine.Tests.Formats.Tokenizers;

/// <summary>Broken and odd files: each has its verdict in expected.json; only the reader's own exception may escape.</summary>
public sealed class MalformedTokenizerTests
{
    private const string Family = "tokenizer-json";

    public static TheoryData<string> Files =>
    [
        .. new DirectoryInfo(Goldens.Folder("malformed", Family)).EnumerateFiles("*.tokenizer.json")
            .Select(file => file.Name).Order(StringComparer.Ordinal),
    ];

    [Theory]
    [MemberData(nameof(Files))]
    public void GivesTheVerdict(string file)
    {
        using var verdicts = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("malformed", Family, "expected.json")));
        string path = Goldens.Folder("malformed", Family, file);
        if (verdicts.RootElement.GetProperty(file).GetProperty("expect").GetString() == "accept")
        {
            Encoding encoding = Tokenizer.Load(path).Encode("hello world");
            Assert.Equal(encoding.Ids.Length, encoding.Offsets.Length);
        }
        else
        {
            InvalidFileException error = Assert.Throws<InvalidFileException>(() => Tokenizer.Load(path));
            Assert.Equal(path, error.Path);
            Assert.NotEmpty(error.Defect);
        }
    }

    [Fact]
    public void EveryVerdictHasItsFile()
    {
        using var verdicts = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("malformed", Family, "expected.json")));
        Assert.Equal(
            Files.Select(row => row.Data).Order(),
            verdicts.RootElement.EnumerateObject().Select(verdict => verdict.Name).Order());
    }

    [Theory]
    [InlineData("normalizer", "Magic")]
    [InlineData("pre_tokenizer", "UnicodeScripts")]
    [InlineData("post_processor", "Magic")]
    [InlineData("decoder", "CTC")]
    public void UnsupportedComponentsAreRefusedByName(string component, string type)
    {
        string json = $$$"""{"{{{component}}}": {"type": "{{{type}}}"}, "model": {"type": "BPE", "vocab": {}, "merges": []}}""";
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => Parse(json));
        Assert.Contains($"'{type}' is not supported; supported: ", error.Defect, StringComparison.Ordinal);
    }

    [Fact]
    public void AMissingFileIsSaidSo()
    {
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => Tokenizer.Load("nowhere/tokenizer.json"));
        Assert.Contains("cannot be read", error.Defect, StringComparison.Ordinal);
    }

    [Fact]
    public void EndlessBacktrackingIsStopped()
    {
        string path = Goldens.Folder("malformed", Family, "odd-slow-regex.tokenizer.json");
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => Tokenizer.Load(path).Encode(new string('a', 60)));
        Assert.Contains("backtracks too much", error.Defect, StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedFilesNeverGiveAnotherException()
    {
        byte[] good = File.ReadAllBytes(Goldens.Folder("tokenizers", "llama3", "tokenizer.json"));
        int tail = good.AsSpan().IndexOf("\"vocab\""u8) + 200;
        Random random = new(1);
        for (int i = 0; i < 400; i++)
        {
            byte[] bad = [.. good];
            for (int flips = random.Next(1, 4); flips > 0; flips--)
            {
                bad[random.Next(tail)] = (byte)random.Next(32, 127);
            }

            try
            {
                Tokenizer.Parse(bad, "damaged").Encode("Hello world, 123 \U0001F600");
            }
            catch (InvalidFileException)
            {
                // The only one that is allowed.
            }
        }
    }

    private static Tokenizer Parse(string json) => Tokenizer.Parse(System.Text.Encoding.UTF8.GetBytes(json), "test");
}
