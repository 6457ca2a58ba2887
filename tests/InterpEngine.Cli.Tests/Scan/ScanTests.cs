using System.Text.Json;
using System.Text.RegularExpressions;
using InterpEngine.Cli.Scan;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Cli.Tests.Scan;

public sealed partial class ScanTests : IDisposable
{
    private const string Story = "When Mary and John went to the park, Mary gave the ball to";

    private readonly string _folder = Directory.CreateTempSubdirectory("interp-scan-").FullName;

    private string Html => Path.Combine(_folder, "scan.html");

    [Fact]
    public async Task It_names_John_and_the_heads_that_read_him()
    {
        (int code, string output, string error) = await Run(Story, "--html", Html);
        Assert.Equal((0, true), (code, File.Exists(Html)));
        Assert.Contains("→ ' John'", output, StringComparison.Ordinal);
        Assert.Matches(HeadReadingJohn(), output);
        Assert.Contains(Html, error, StringComparison.Ordinal);
        Assert.All(output.Split('\n'), line => Assert.True(line.Length <= 120, line));
    }

    [Fact]
    public void The_strongest_head_looks_at_John_and_the_parts_sum_to_the_logit()
    {
        ScanReport report = Scan(Story);
        Assert.Equal((" John", 1), (report.Answer.Text, report.Answer.Rank));
        Assert.Equal(report.Answer.Probability, report.Next[0].Probability);
        Assert.Equal(report.Answer.Id, report.Lens[^1].Top[^1][0].Id);
        Component head = report.Attribution.Components.Where(part => part.Attends is not null).MaxBy(part => part.Value)!;
        Assert.Equal(" John", head.Attends!.Text);
        Assert.True(head.Attends.Weight > 0.5f);
        Assert.Equal(head.Value, head.Sources!.Sum(), 1e-4);
        Assert.Equal(report.Attribution.Logit, report.Attribution.Sum, 1e-4);
        Assert.Equal(report.Attribution.Logit, report.Attribution.Components.Sum(part => (double)part.Value), 1e-4);
    }

    [Fact]
    public void Against_another_token_the_logits_difference_is_explained()
    {
        ScanReport report = Scan(Story, answer: "John", against: "Mary");
        Assert.Equal((" John", " Mary"), (report.Answer.Text, report.Against!.Text));
        Assert.Equal(report.Answer.Logit - report.Against.Logit, report.Attribution.Logit, 1e-4);
        Assert.Equal(report.Attribution.Logit, report.Attribution.Sum, 1e-4);
    }

    [Fact]
    public void An_earlier_position_is_the_shorter_prompt()
    {
        const string shorter = "When Mary and John went to the park,";
        ScanReport whole = Scan(shorter), cut = Scan(shorter + " she", position: whole.Length - 1);
        Assert.Equal(whole.ToJson(), (cut with { Prompt = shorter }).ToJson());
    }

    [Fact]
    public async Task Json_is_the_report_and_the_page_holds_the_same()
    {
        (int code, string output, _) = await Run(Story, "--json", "--html", Html);
        Assert.Equal(0, code);
        ScanReport printed = JsonSerializer.Deserialize(output, ScanJson.Default.ScanReport)!;
        ScanReport held = JsonSerializer.Deserialize(Data(await File.ReadAllTextAsync(Html)), ScanJson.Default.ScanReport)!;
        Assert.Equal(output.Trim(), printed.ToJson());
        Assert.Equal(output.Trim(), held.ToJson());
        Assert.Equal(Story, held.Prompt);
        Assert.Equal(held.Model.Layers * held.Model.Heads, held.Attention.Count);
        Assert.All(held.Attention, head => Rows_sum_to_one(Convert.FromBase64String(head.Pattern), held.Tokens.Count));
    }

    [Fact]
    public async Task The_page_is_complete_in_itself()
    {
        await Run(Story, "--html", Html);
        string page = await File.ReadAllTextAsync(Html);
        Assert.DoesNotContain("http:", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https:", page, StringComparison.Ordinal);
        Assert.DoesNotMatch(Loading(), page);
        Assert.Contains("default-src 'none'", page, StringComparison.Ordinal);
        Assert.DoesNotContain("{{data}}", page, StringComparison.Ordinal);
        Assert.Contains("function drawPattern", page, StringComparison.Ordinal);
        Assert.Contains("prefers-color-scheme", page, StringComparison.Ordinal);
        Assert.DoesNotContain("innerHTML", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("</script><b>x</b>")]
    [InlineData("<!-- <script> {{data}} /* scan.js */")]
    [InlineData("a\u202Eb\u0000c\u001B[31md\u2066e\uFEFF")]
    [InlineData("\uD83D\uDE00 \uD83D é")]
    public async Task Hostile_text_stays_text(string prompt)
    {
        (int code, string output, _) = await Run(prompt, "--html", Html);
        Assert.Equal(0, code);
        string page = await File.ReadAllTextAsync(Html), calm = ScanPage.Render(Scan("The"));
        Assert.Equal(Tags().Count(calm), Tags().Count(page));
        Assert.All(Data(page), character => Assert.InRange(character, ' ', '~'));
        Assert.DoesNotContain('<', Data(page));
        Assert.NotEmpty(JsonSerializer.Deserialize(Data(page), ScanJson.Default.ScanReport)!.Tokens);
        Assert.DoesNotContain(output, character => char.IsControl(character) && character != '\n' && character != '\r');
        Assert.DoesNotContain('\u202E', output);
    }

    [Theory]
    [InlineData(new[] { "--answer", "Johnny Mary" }, "--answer 'Johnny Mary' is not one token of this model")]
    [InlineData(new[] { "--against", "" }, "--against '' is not one token of this model")]
    [InlineData(new[] { "--against", "John" }, "--answer and --against are both ' John'")]
    [InlineData(new[] { "--position", "99" }, "There is no position 99: the prompt has 15 tokens, 0 to 14.")]
    [InlineData(new[] { "--html", "no/such/folder/scan.html" }, "no/such/folder/scan.html")]
    [InlineData(new[] { "--model", "no-such-model" }, "no-such-model")]
    [InlineData(new[] { "--top", "0" }, "--top")]
    public async Task What_cannot_be_explained_is_said(string[] options, string message)
    {
        string[] page = options.Contains("--html") ? [] : ["--no-html"];
        (int code, _, string error) = await Run([Story, .. page, .. options]);
        Assert.Equal(2, code);
        Assert.Contains(message, error, StringComparison.Ordinal);
        Assert.Contains("hint: ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_html_nothing_is_written()
    {
        (int code, _, string error) = await Run(Story, "--no-html", "--top", "3");
        Assert.Equal((0, ""), (code, error));
        (code, string output, error) = await Run(Story, "--json");
        Assert.Equal((0, ""), (code, error));
        Assert.StartsWith("{", output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_report_too_large_shows_the_last_tokens_alone()
    {
        Assert.Equal(1000, PromptScan.WindowOf(layers: 2, heads: 4, length: 1000));
        int window = PromptScan.WindowOf(layers: 32, heads: 32, length: 4000);
        Assert.InRange(window, 50, 200);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static ScanReport Scan(string prompt, string? answer = null, string? against = null, int? position = null)
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Model.TalesPath, device);
        return PromptScan.Run(model, new ScanRequest(prompt, position, answer, against));
    }

    private static async Task<(int Code, string Output, string Error)> Run(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = await Application.RunAsync(["scan", .. args], output, error, TestContext.Current.CancellationToken);
        return (code, output.ToString(), error.ToString());
    }

    private static string Data(string page)
    {
        const string begin = "<script type=\"application/json\" id=\"data\">";
        int start = page.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        return page[start..page.IndexOf("</script>", start, StringComparison.Ordinal)];
    }

    private static void Rows_sum_to_one(byte[] pattern, int tokens)
    {
        Assert.Equal(tokens * (tokens + 1), pattern.Length);
        int at = 0;
        for (int query = 0; query < tokens; query++)
        {
            double sum = 0;
            for (int key = 0; key <= query; key++, at += 2)
            {
                sum += BitConverter.ToUInt16(pattern, at) / 65535.0;
            }

            Assert.Equal(1, sum, 1e-3);
        }
    }

    [GeneratedRegex(@"L\dH\d +\+\d\.\d\d .*← ' John' \(0\.\d\d\)")]
    private static partial Regex HeadReadingJohn();

    [GeneratedRegex(@"\b(src|href|srcset|data-src)\s*=|url\(|@import|\bimport\(|fetch\(|XMLHttpRequest", RegexOptions.IgnoreCase)]
    private static partial Regex Loading();

    [GeneratedRegex("</?[a-zA-Z!]")]
    private static partial Regex Tags();
}
