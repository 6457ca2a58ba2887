using System.IO.Compression;
using System.Text.Json;
using System.Text.RegularExpressions;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests.Sae;

/// <summary>The browser of features, as a file and as JSON.</summary>
public sealed partial class FeaturePageTests : IDisposable
{
    private const string Hostile = "</script><img src=x onerror=alert(1)>";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task The_page_holds_what_the_json_says()
    {
        string sae = await Train("tales");
        JsonElement json = await CommandLine.Json(
            "sae", "features", sae, "--tokens", "4000", "--examples", "4", "--json", "--out", _folder["features.html"]);
        string page = File.ReadAllText(_folder["features.html"]);
        JsonElement data = Data(page);
        JsonElement[] features = [.. Blocks(page)], alive = [.. json.GetProperty("alive").EnumerateArray()];
        Assert.NotEmpty(alive);
        Assert.Equal(alive.Length, features.Length);
        Assert.Equal(alive.Length, json.GetProperty("features").GetInt32() - json.GetProperty("dead").GetInt32());
        Assert.Equal(alive.Select(feature => feature.GetProperty("feature").GetInt32()), data.GetProperty("feature").EnumerateArray()
            .Select(f => f.GetInt32()));
        string[] tokens = [.. data.GetProperty("tokens").EnumerateArray().Select(token => token.GetString()!)];
        for (int i = 0; i < alive.Length; i++)
        {
            JsonElement[] top = [.. alive[i].GetProperty("top").EnumerateArray()],
                shown = [.. features[i].GetProperty("top").EnumerateArray()];
            Assert.InRange(top.Length, 1, 4);
            Assert.Equal(top.Length, shown.Length);
            for (int e = 0; e < top.Length; e++)
            {
                Assert.Equal(top[e].GetProperty("text").GetString(),
                    string.Concat(shown[e].GetProperty("tokens").EnumerateArray().Select(t => tokens[t.GetInt32()])));
                int peak = shown[e].GetProperty("peak").GetInt32();
                double value = top[e].GetProperty("value").GetDouble();
                Assert.Equal(value, top[e].GetProperty("activations")[peak].GetDouble());
                Assert.Equal(value, shown[e].GetProperty("value").GetDouble(), Math.Abs(value) * 1e-3);
            }

            double[] activations = [
                .. top.SelectMany(example => example.GetProperty("activations").EnumerateArray().Select(a => a.GetDouble()))];
            Assert.Equal(alive[i].GetProperty("max").GetDouble(), activations.Max(), 1e-6);
            Assert.Equal(
                Math.Round(alive[i].GetProperty("density").GetDouble() * json.GetProperty("tokens").GetInt64()),
                alive[i].GetProperty("histogram").GetProperty("counts").EnumerateArray().Sum(count => count.GetInt32()));
            Assert.Equal(10, alive[i].GetProperty("raises").GetArrayLength());
            Assert.Equal(8, alive[i].GetProperty("nearest").GetArrayLength());
        }
    }

    [Fact]
    public async Task The_page_is_complete_in_itself_and_hostile_tokens_stay_text()
    {
        string model = HostileModel(), sae = await Train(model, "--text", HostileText());
        string page = _folder["features.html"];
        await CommandLine.Success("sae", "features", sae, "--text", HostileText(), "--with-special", "--out", page);
        string text = File.ReadAllText(page), frame = Data().Replace(Block().Replace(text, ""), "");
        Assert.DoesNotMatch(Loading(), frame);
        Assert.DoesNotContain("http:", frame, StringComparison.Ordinal);
        Assert.DoesNotContain("innerHTML", frame, StringComparison.Ordinal);
        Assert.DoesNotContain("{{data}}", text, StringComparison.Ordinal);
        Assert.Contains("default-src 'none'", frame, StringComparison.Ordinal);
        Assert.DoesNotContain("<img", text, StringComparison.Ordinal);
        Assert.Single(Data().Matches(text));
        Assert.Contains(Hostile, Data(text).GetProperty("tokens").EnumerateArray().Select(token => token.GetString()));
        Assert.All(Data().Match(text).Groups[1].Value, character => Assert.InRange(character, ' ', '~'));
        Assert.Contains(Blocks(text), feature => feature.GetProperty("top").GetArrayLength() > 0);
    }

    [Fact]
    public async Task Texts_without_a_token_that_counts_are_refused()
    {
        string sae = await Train("tales");
        File.WriteAllText(_folder["empty.txt"], "\n");
        Assert.Contains("no token", await CommandLine.Failure("sae", "features", sae, "--text", _folder["empty.txt"]),
            StringComparison.Ordinal);
        Assert.Contains("whole file", await CommandLine.Failure("sae", "features", sae, "--tokens", "0"), StringComparison.Ordinal);
    }

    private async Task<string> Train(string model, params string[] more)
    {
        string sae = _folder["sae"];
        await CommandLine.Success([
            "sae", "train", model, "--out", sae, "--features", "100", "--k", "3", "--steps", "10", "--point", "blocks.1.hook_resid_post",
            "--set", "batch=128", "buffer=1024", "context=64", .. more,
        ]);
        return sae;
    }

    /// <summary>The model that comes along, whose begin-of-text token is spelled to do harm.</summary>
    private string HostileModel()
    {
        string folder = _folder["model"];
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.GetFiles(Model.TalesPath))
        {
            string to = Path.Combine(folder, Path.GetFileName(file));
            if (file.EndsWith(".json", StringComparison.Ordinal))
            {
                File.WriteAllText(to, File.ReadAllText(file).Replace("<|endoftext|>", Hostile, StringComparison.Ordinal));
            }
            else
            {
                File.Copy(file, to);
            }
        }

        return folder;
    }

    private string HostileText()
    {
        string path = _folder["hostile.txt"];
        string[] lines = ["</script><script>alert(1)</script>", "<!-- {{data}} /* features.js */", "a\u202Eb\u0000c\u2066e\uFEFF",
            "\uD83D\uDE00 é \u2028"];
        File.WriteAllLines(path, Enumerable.Range(0, 200).Select(i => $"{lines[i % lines.Length]} {i}"));
        return path;
    }

    private static JsonElement Data(string page) => JsonDocument.Parse(Data().Match(page).Groups[1].Value).RootElement;

    private static IEnumerable<JsonElement> Blocks(string page) => Block().Matches(page).SelectMany(block =>
    {
        using var packed = new MemoryStream(Convert.FromBase64String(block.Groups[1].Value));
        using var deflate = new DeflateStream(packed, CompressionMode.Decompress);
        return JsonDocument.Parse(deflate).RootElement.EnumerateArray().ToArray();
    });

    [GeneratedRegex("<script type=\"application/json\" id=\"data\">(.*?)</script>", RegexOptions.Singleline)]
    private static partial Regex Data();

    [GeneratedRegex("<script type=\"text/plain\" class=\"block\">(.*?)</script>", RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex(@"\b(src|href|srcset|data-src)\s*=|url\(|@import|\bimport\(|fetch\(|XMLHttpRequest", RegexOptions.IgnoreCase)]
    private static partial Regex Loading();
}
