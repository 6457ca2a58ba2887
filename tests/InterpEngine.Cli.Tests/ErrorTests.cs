using System.CommandLine;
using System.Globalization;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

public sealed class ErrorTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Theory]
    [InlineData("'frobnicate' is no command", "frobnicate")]
    [InlineData("Give either a PROMPT or --tokens", "run", "tales")]
    [InlineData("Give either a PROMPT or --tokens", "run", "tales", "hello", "--tokens", "x.json")]
    [InlineData("no folder nowhere", "run", "nowhere", "hello")]
    [InlineData("--top-p is 3", "run", "tales", "hello", "--top-p", "3")]
    [InlineData("--temperature is -1", "run", "tales", "hello", "--temperature", "-1")]
    [InlineData("--max-tokens", "run", "tales", "hello", "--max-tokens", "many")]
    [InlineData("--max-tokens is -2", "run", "tales", "hello", "--max-tokens", "-2")]
    [InlineData("--device is 'gpu'", "run", "tales", "hello", "--device", "gpu")]
    [InlineData("--device is 'cuda:'", "scan", "hello", "--device", "cuda:")]
    [InlineData("--device is 'cuda:-1'", "capture", "tales", "--text", "x", "--points", "*", "--out", "y", "--device", "cuda:-1")]
    [InlineData("cuda:77", "run", "tales", "hello", "--device", "cuda:77")]
    [InlineData("'--out' is required", "capture", "tales", "--text", "x")]
    [InlineData("nothing to capture", "capture", "tales", "--text", "x", "--out", "y")]
    [InlineData("--shard-size is 'big'", "capture", "tales", "--text", "x", "--points", "*", "--out", "y", "--shard-size", "big")]
    [InlineData("--positions is 'a'", "capture", "tales", "--text", "x", "--points", "*", "--out", "y", "--positions", "a")]
    [InlineData("blocks are 0 to 3", "capture", "tales", "--text", "x", "--points", "blocks.9.hook_resid_pre", "--out", "y")]
    [InlineData("absent.txt: no such file", "capture", "tales", "--text", "absent.txt", "--points", "*", "--out", "y")]
    [InlineData("absent.json: no such file", "run", "tales", "--tokens", "absent.json")]
    [InlineData("Give either a TEXT or --file", "tokenize", "tales")]
    [InlineData("no folder nowhere", "info", "nowhere")]
    public async Task A_mistake_is_one_line_and_exit_code_2(string expected, params string[] args) =>
        Assert.Contains(expected, await CommandLine.Failure(args), StringComparison.Ordinal);

    [Theory]
    [InlineData("""{"input_ids": [[1, 2], [3]]}""", "row 1 of input_ids has 1 entries")]
    [InlineData("""{"input_ids": []}""", "has no tokens")]
    [InlineData("""{"input_ids": [[]]}""", "has no tokens")]
    [InlineData("""{"input_ids": [1, -2]}""", "input_ids[0][1] is -2")]
    [InlineData("""{"input_ids": [1, 2.5]}""", "no integer")]
    [InlineData("""{"input_ids": [1, 99999999999]}""", "no integer")]
    [InlineData("""{"input_ids": [1, 5000]}""", "vocabulary of 1024")]
    [InlineData("""{"input_ids": [[1], 2]}""", "input_ids[1] is no list")]
    [InlineData("""{"input_ids": [[[1]]]}""", "no integer")]
    [InlineData("""{"input_ids": "1 2 3"}""", "no list")]
    [InlineData("""{"ids": [1]}""", "no 'input_ids'")]
    [InlineData("""{"input_ids": [1], "input_ids": [2]}""", "no valid JSON")]
    [InlineData("""{"input_ids": [1, 2], "attention_mask": [1]}""", "row 0 of attention_mask has 1 entries")]
    [InlineData("""{"input_ids": [1, 2], "attention_mask": [[1, 1], [1, 1]]}""", "attention_mask has 2 rows")]
    [InlineData("""{"input_ids": [1, 2], "attention_mask": [0, 0]}""", "no real token")]
    [InlineData("""{"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}""", "not one unbroken run")]
    [InlineData("""{"input_ids": [1, 2], "attention_mask": [1, 2]}""", "expected 0 or 1")]
    [InlineData("""{"input_ids": [1, 2""", "no valid JSON")]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "no valid JSON")]
    [InlineData("", "no valid JSON")]
    public async Task Hostile_token_files_are_refused(string content, string expected)
    {
        await File.WriteAllTextAsync(_folder["tokens.json"], content, TestContext.Current.CancellationToken);
        string error = await CommandLine.Failure("run", "tales", "--tokens", _folder["tokens.json"]);
        Assert.Contains(expected, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Hostile_safetensors_with_tokens_are_refused()
    {
        byte[] endless = [255, 255, 255, 255, 255, 255, 255, 127];
        await File.WriteAllBytesAsync(_folder["tokens.safetensors"], endless, TestContext.Current.CancellationToken);
        string error = await CommandLine.Failure("run", "tales", "--tokens", _folder["tokens.safetensors"]);
        Assert.Contains("header length", error, StringComparison.Ordinal);
        error = await CommandLine.Failure("run", "tales", "--tokens", Path.Combine(Model.TalesPath, "model.safetensors"));
        Assert.Contains("no tensor 'input_ids'", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("text.jsonl", "{\"text\": \"a\"}\n{\"words\": \"b\"}\n", "line 2: expected a JSON object with a string 'text'")]
    [InlineData("text.jsonl", "not json\n", "line 1: is no valid JSON")]
    [InlineData("text.txt", "\n\n", "no tokens")]
    public async Task Broken_texts_are_refused(string name, string content, string expected)
    {
        await File.WriteAllTextAsync(_folder[name], content, TestContext.Current.CancellationToken);
        string error = await CommandLine.Failure(
            "capture", "tales", "--text", _folder[name], "--points", "hook_embed", "--out", _folder["out"]);
        Assert.Contains(expected, error, StringComparison.Ordinal);
        await File.WriteAllBytesAsync(_folder["latin.txt"], [65, 0xE4, 10], TestContext.Current.CancellationToken);
        error = await CommandLine.Failure("tokenize", "tales", "--file", _folder["latin.txt"]);
        Assert.Contains("not valid UTF-8", error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unexpected_failure_asks_for_a_report_and_shows_its_stack_only_when_asked()
    {
        using var error = new StringWriter();
        Exception failure = Assert.ThrowsAny<Exception>(() => int.Parse("odd", CultureInfo.InvariantCulture));
        Assert.Equal(1, Errors.Report(failure, error, verbose: false, CancellationToken.None));
        Assert.Contains("odd", error.ToString(), StringComparison.Ordinal);
        Assert.Contains("report", error.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error.ToString(), StringComparison.Ordinal);
        Assert.Equal(1, Errors.Report(failure, error, verbose: true, CancellationToken.None));
        Assert.Contains("   at ", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_reader_that_goes_away_ends_the_command_quietly()
    {
        Assert.SkipUnless(File.Exists("/bin/sh"), "needs a POSIX shell");
        using var shell = CommandLine.StartProgram(
            "/bin/sh", "-c", $"('{CommandLine.Executable}' info tales --json; echo $? >&2) | head -n 1");
        Assert.Equal("{\n", await shell.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken));
        Assert.Equal("0\n", await shell.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("run")]
    [InlineData("capture")]
    [InlineData("tokenize")]
    [InlineData("info")]
    [InlineData("doctor")]
    [InlineData("scan")]
    public async Task Help_has_examples_that_parse(string name)
    {
        string help = await CommandLine.Success(name, "--help");
        Assert.Contains($"Examples:\n  interp {name}", help, StringComparison.Ordinal);
        RootCommand root = Application.CreateRoot();
        var command = (ExampleCommand)root.Subcommands.Single(command => command.Name == name);
        foreach (string example in command.Examples)
        {
            Assert.Empty(root.Parse(example["interp ".Length..].Replace('\'', '"')).Errors);
        }
    }

    [Fact]
    public async Task Without_arguments_it_shows_its_help()
    {
        string help = await CommandLine.Success();
        Assert.Contains("capture", help, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Dispose();
}
