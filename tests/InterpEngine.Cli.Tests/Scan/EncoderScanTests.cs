using System.Text.Json;
using Xunit;

namespace InterpEngine.Cli.Tests.Scan;

/// <summary>Models that are no plain decoder, scanned: BERT of the goldens, and mixtures, with a word for each id.</summary>
public sealed class EncoderScanTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("interp-encoder-").FullName;

    /// <summary>The goldens beside the tests' sources.</summary>
    public static string Goldens
    {
        get
        {
            DirectoryInfo? folder = new(AppContext.BaseDirectory);
            while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "InterpEngine.sln")))
            {
                folder = folder.Parent;
            }

            return Path.Combine(folder!.FullName, "tests", "fixtures", "goldens");
        }
    }

    [Fact]
    public async Task Masks_are_filled_in()
    {
        Copy("bert");
        JsonElement scan = await CommandLine.Json("scan", "w7 [MASK] w9 w20 [MASK]", "--model", _folder, "--json", "--top", "3");
        JsonElement masks = scan.GetProperty("masks");
        Assert.Equal([1, 4], masks.EnumerateArray().Select(mask => mask.GetProperty("position").GetInt32()));
        foreach (JsonElement mask in masks.EnumerateArray())
        {
            float[] fill = [.. mask.GetProperty("fill").EnumerateArray().Select(word => word.GetProperty("probability").GetSingle())];
            Assert.Equal(3, fill.Length);
            Assert.Equal(fill.OrderDescending(), fill);
            Assert.Equal(8, mask.GetProperty("heads").GetArrayLength());
            int position = mask.GetProperty("position").GetInt32();
            JsonElement last = scan.GetProperty("lens")[2];
            Assert.Equal(fill[0], last.GetProperty("answer")[position].GetSingle(), 1e-6f);
        }

        string text = await CommandLine.Success("scan", "w7 [MASK] w9 w20", "--model", _folder);
        Assert.Contains("Position 1", text, StringComparison.Ordinal);
        Assert.Contains("Nothing is masked", await CommandLine.Success("scan", "w7 w9", "--model", _folder), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--answer", "w3")]
    [InlineData("--against", "w3")]
    [InlineData("--position", "1")]
    [InlineData("--html", "page.html")]
    public async Task What_needs_a_next_token_is_refused(string option, string value)
    {
        Copy("bert");
        string error = await CommandLine.Failure("scan", "w7 [MASK]", "--model", _folder, option, value);
        Assert.Contains($"{option} needs a model that predicts the next token", error, StringComparison.Ordinal);
        Assert.Contains("encoder", await CommandLine.Failure("run", _folder, "w7 w9"), StringComparison.Ordinal);
    }

    /// <summary>The parts sum to the logit: with experts, soft-caps, latent attention, multipliers, ALiBi and post-norms.</summary>
    [Theory]
    [InlineData("mixtral")]
    [InlineData("deepseek_v3")]
    [InlineData("gpt_oss")]
    [InlineData("gemma2")]
    [InlineData("granite")]
    [InlineData("bloom")]
    [InlineData("olmo2")]
    [InlineData("cohere")]
    [InlineData("falcon")]
    [InlineData("gptj")]
    public async Task Decoders_of_all_kinds_are_explained(string name)
    {
        Copy(name);
        JsonElement scan = await CommandLine.Json("scan", "w7 w9 w20 w33 w7", "--model", _folder, "--json");
        JsonElement attribution = scan.GetProperty("attribution");
        double logit = attribution.GetProperty("logit").GetDouble(), sum = attribution.GetProperty("sum").GetDouble();
        double parts = attribution.GetProperty("components").EnumerateArray().Sum(part => Math.Abs(part.GetProperty("value").GetDouble()));
        Assert.Equal(logit, sum, 1e-5 * (1 + parts));
        string page = Path.Combine(_folder, "scan.html");
        await CommandLine.Success("scan", "w7 w9 w20 w33 w7", "--model", _folder, "--html", page);
        Assert.True(File.Exists(page));
        await CommandLine.Success("run", _folder, "w7 w9", "--max-tokens", "3");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>A golden checkpoint with a tokenizer of one word for each id.</summary>
    private void Copy(string name)
    {
        foreach (string file in Directory.EnumerateFiles(Path.Combine(Goldens, "models", name)))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }

        Dictionary<string, int> words = Enumerable.Range(0, 101).ToDictionary(id => id == 4 ? "[MASK]" : $"w{id}");
        object[] added = [new { id = 4, content = "[MASK]", single_word = false, lstrip = false, rstrip = false, normalized = false, special = true }];
        File.WriteAllText(Path.Combine(_folder, "tokenizer.json"), JsonSerializer.Serialize(new
        {
            version = "1.0",
            added_tokens = added,
            pre_tokenizer = new { type = "WhitespaceSplit" },
            model = new { type = "WordLevel", vocab = words, unk_token = "w0" },
        }));
    }
}
