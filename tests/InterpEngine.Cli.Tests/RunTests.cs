using System.Text.Json;
using InterpEngine.Formats.Tokenizers;
using InterpEngine.Models;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

public sealed class RunTests : IDisposable
{
    private const string Prompt = "The capital of France is";
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public async Task It_continues_the_prompt() =>
        Assert.Equal($"{Prompt} Paris.\n", await CommandLine.Success("run", "tales", Prompt));

    [Theory]
    [InlineData("default")]
    [InlineData("center_unembed")]
    public async Task Processed_weights_continue_it_alike(string steps) =>
        Assert.Equal($"{Prompt} Paris.\n", await CommandLine.Success("run", "tales", Prompt, "--process", steps));

    [Fact]
    public async Task A_processing_step_that_does_not_exist_is_refused() => Assert.Contains(
        "'fold_norm', which is no processing step", await CommandLine.Failure("run", "tales", Prompt, "--process", "fold_norm"), StringComparison.Ordinal);

    [Fact]
    public async Task It_shows_the_likeliest_tokens()
    {
        string output = await CommandLine.Success("run", "tales", Prompt, "--max-tokens", "1", "--top", "3");
        Assert.Matches(@"' Paris'\s+0\.99\d\d\s+' Paris' 0\.99\d\d\s+' \w+' 0\.00", output);
        Assert.DoesNotContain("\e", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Json_has_ids_text_and_log_probabilities()
    {
        JsonElement root = await CommandLine.Json("run", "tales", Prompt, "--json", "--top", "2");
        JsonElement sequence = Assert.Single(root.GetProperty("sequences").EnumerateArray());
        Assert.Equal(["prompt", "prompt_ids", "ids", "text", "tokens"], Names(sequence));
        Assert.Equal(0, sequence.GetProperty("prompt_ids")[0].GetInt32());
        Assert.Equal(" Paris.", sequence.GetProperty("text").GetString());
        JsonElement token = sequence.GetProperty("tokens")[0];
        Assert.Equal(["id", "text", "log_probability", "alternatives"], Names(token));
        Assert.Equal(sequence.GetProperty("ids")[0].GetInt32(), token.GetProperty("id").GetInt32());
        Assert.Equal(2, token.GetProperty("alternatives").GetArrayLength());
        Assert.Equal(Math.Log(0.997), token.GetProperty("log_probability").GetDouble(), 0.001);
    }

    [Fact]
    public async Task The_same_seed_draws_the_same_text()
    {
        string[] command = ["run", "tales", "Mary", "--temperature", "1.2", "--top-k", "50", "--top-p", "0.95", "--seed"];
        string first = await CommandLine.Success([.. command, "1"]);
        Assert.Equal(first, await CommandLine.Success([.. command, "1"]));
        Assert.NotEqual(first, await CommandLine.Success([.. command, "2"]));
    }

    [Fact]
    public async Task The_begin_of_text_token_can_be_left_out_and_the_end_ignored()
    {
        JsonElement root = await CommandLine.Json(
            "run", "tales", Prompt, "--no-bos", "--ignore-eos", "--max-tokens", "40", "--json");
        JsonElement sequence = root.GetProperty("sequences")[0];
        Assert.NotEqual(0, sequence.GetProperty("prompt_ids")[0].GetInt32());
        Assert.Equal(40, sequence.GetProperty("ids").GetArrayLength());
    }

    [Fact]
    public async Task It_says_that_the_context_is_full()
    {
        (int code, _, string error) = await CommandLine.Run("run", "tales", Prompt, "--ignore-eos", "--max-tokens", "2000000000");
        Assert.Equal((0, "interp: stopped at the model's context of 128 tokens.\n"), (code, error));
    }

    [Fact]
    public async Task A_batch_of_ids_gives_each_sequence_what_it_gives_alone_and_needs_no_tokenizer()
    {
        string model = _folder["model"];
        Directory.CreateDirectory(model);
        foreach (string name in (ReadOnlySpan<string>)["config.json", "model.safetensors"])
        {
            File.Copy(Path.Combine(Model.TalesPath, name), Path.Combine(model, name));
        }

        int[] ids = await PromptIds();
        string shorter = string.Join(',', ids.Skip(1).SkipLast(1));
        await File.WriteAllTextAsync(_folder["batch.json"], $$"""
            {"input_ids": [[{{string.Join(',', ids)}}], [0, {{shorter}}, 7]],
             "attention_mask": [[{{string.Join(',', ids.Select(_ => 1))}}], [0{{string.Concat(ids.Skip(1).Select(_ => ",1"))}}]]}
            """, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(_folder["one.json"], $"[{string.Join(',', ids)}]", TestContext.Current.CancellationToken);
        string output = await CommandLine.Success("run", model, "--tokens", _folder["batch.json"], "--max-tokens", "5");
        string[] batch = output.Split('\n');
        string alone = await CommandLine.Success("run", model, "--tokens", _folder["one.json"], "--max-tokens", "5");
        Assert.Equal((3, ""), (batch.Length, batch[2]));
        Assert.Equal(alone.TrimEnd('\n'), batch[0]);
        Assert.Matches(@"^\d+( \d+)*$", batch[0]);
        string error = await CommandLine.Failure("run", model, Prompt);
        Assert.Contains("tokenizer.json", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_is_written_of_a_character_before_its_last_byte()
    {
        var tokenizer = Tokenizer.Load(Model.TalesPath);
        int[] ids = tokenizer.Encode("😀ä").Ids;
        Assert.True(ids.Length > 2);
        using var output = new PieceWriter();
        Terminal terminal = Terminal.Of(output, TextWriter.Null);
        RunOutput.Stream(terminal, tokenizer, "", ids.Select(id => new GeneratedToken?[] { new(id, 0, []) }));
        Assert.Equal(["😀", "ä", "\n"], output.Pieces);
    }

    public void Dispose() => _folder.Dispose();

    private static IEnumerable<string> Names(JsonElement value) => value.EnumerateObject().Select(property => property.Name);

    private static async Task<int[]> PromptIds()
    {
        JsonElement root = await CommandLine.Json("run", "tales", Prompt, "--max-tokens", "0", "--json");
        return [.. root.GetProperty("sequences")[0].GetProperty("prompt_ids").EnumerateArray().Select(id => id.GetInt32())];
    }

    private sealed class PieceWriter : StringWriter
    {
        private int _seen;

        public List<string> Pieces { get; } = [];

        public override void Flush()
        {
            string text = ToString();
            if (text.Length > _seen)
            {
                Pieces.Add(text[_seen..]);
                _seen = text.Length;
            }
        }
    }
}
