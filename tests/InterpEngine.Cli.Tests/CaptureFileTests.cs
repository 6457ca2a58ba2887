using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

public sealed class CaptureFileTests : IDisposable
{
    private static readonly string[] s_texts = ["The capital of France is Paris.", "Mary lost her key.", "List: ball red cat"];
    private readonly TemporaryFolder _folder = new();
    private readonly Device _device = Device.Cpu();
    private readonly Model _model;

    public CaptureFileTests()
    {
        _model = Model.Load(Model.TalesPath, _device);
        File.WriteAllLines(_folder["texts.txt"], s_texts);
    }

    [Fact]
    public async Task One_file_holds_what_a_run_gives()
    {
        await Capture("--points", "*", "--logits", "--loss");
        TokenBatch tokens = _model.Tokenize(s_texts);
        using RunResult run = _model.Run(
            tokens, new RunOptions { Capture = HookSelection.All, Loss = true }, TestContext.Current.CancellationToken);
        using var file = SafetensorsFile.Open(_folder["out.safetensors"]);
        Assert.Equal(
            run.Cache.Keys.Select(point => point.Name).Concat(["input_ids", "attention_mask", "logits", "loss"]).Order(),
            file.Tensors.Keys.Order());
        foreach ((HookPoint point, Tensor tensor) in run.Cache)
        {
            AssertSame(tensor, file.Tensors[point.Name]);
        }

        AssertSame(run.Logits!, file.Tensors["logits"]);
        Assert.Equal((float)run.Loss!.Value, Assert.Single(file.Tensors["loss"].ToSingles()));
        Assert.Empty(file.Tensors["loss"].Shape);
        Assert.Equal(tokens.Ids.ToArray().Select(id => (long)id), file.Tensors["input_ids"].ToIntegers());
        Assert.Equal(tokens.Spans.Sum(span => span.End - span.First), file.Tensors["attention_mask"].ToIntegers().Sum());
    }

    [Fact]
    public async Task Patterns_leave_out_and_positions_are_kept()
    {
        await Capture("--points", "blocks.*.hook_resid_*", "!*hook_resid_mid", "!blocks.0.*", "--positions", "-1");
        using var file = SafetensorsFile.Open(_folder["out.safetensors"]);
        Assert.Equal(2 + 3 * 2, file.Tensors.Count);
        Assert.Equal([3, 1, 128], file.Tensors["blocks.1.hook_resid_pre"].Shape);
    }

    [Fact]
    public async Task Positions_from_the_start_of_padded_texts_are_refused_for_one_file()
    {
        string error = await CommandLine.Failure(
            "capture", "tales", "--text", _folder["texts.txt"], "--points", "hook_embed", "--positions", "0..2",
            "--out", _folder["x.safetensors"]);
        Assert.Contains("different lengths", error, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["x.safetensors"]));
    }

    [Fact]
    public async Task Tokens_and_texts_give_the_same()
    {
        string[] lines = ["{\"text\": \"" + s_texts[0] + "\"}"];
        await File.WriteAllLinesAsync(_folder["text.jsonl"], lines, TestContext.Current.CancellationToken);
        string ids = string.Join(',', _model.Tokenize(s_texts[0]).Ids.ToArray());
        string json = $"{{\"input_ids\": [[{ids}]]}}";
        await File.WriteAllTextAsync(_folder["tokens.json"], json, TestContext.Current.CancellationToken);
        foreach ((string option, string file) in new[] { ("--text", "text.jsonl"), ("--tokens", "tokens.json") })
        {
            await CommandLine.Success(
                "capture", "tales", option, _folder[file], "--points", "ln_final.*", "--out", _folder[file + ".safetensors"]);
        }

        Assert.Equal(
            await File.ReadAllBytesAsync(_folder["text.jsonl.safetensors"], TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(_folder["tokens.json.safetensors"], TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_capture_can_be_the_tokens_of_another()
    {
        await Capture("--points", "hook_embed");
        await CommandLine.Success(
            "capture", "tales", "--tokens", _folder["out.safetensors"], "--points", "hook_embed",
            "--out", _folder["again.safetensors"]);
        Assert.Equal(
            await File.ReadAllBytesAsync(_folder["out.safetensors"], TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(_folder["again.safetensors"], TestContext.Current.CancellationToken));
    }

    public void Dispose()
    {
        _model.Dispose();
        _device.Dispose();
        _folder.Dispose();
    }

    private Task<string> Capture(params string[] options) =>
        CommandLine.Success(
            ["capture", "tales", "--text", _folder["texts.txt"], "--out", _folder["out.safetensors"], .. options]);

    private static void AssertSame(Tensor expected, SafetensorsEntry actual)
    {
        Assert.Equal(expected.Shape.Axes.ToArray().Select(axis => (long)axis), actual.Shape);
        Assert.Equal(expected.ToArray<float>(), actual.ToSingles());
    }
}
