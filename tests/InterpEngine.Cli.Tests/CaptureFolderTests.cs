using System.Text.Json;
using InterpEngine.Captures;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

public sealed class CaptureFolderTests : IDisposable
{
    private static readonly string[] s_texts =
    [
        "The capital of France is Paris.", "", "Mary lost her key.", "List: ball red cat", "Q", "12 plus 7 is 19.",
        string.Join(' ', Enumerable.Repeat("The keys near the old door are red.", 8)),
    ];

    private readonly TemporaryFolder _folder = new();

    public CaptureFolderTests() => File.WriteAllLines(_folder["texts.txt"], s_texts);

    [Fact]
    public async Task Shards_hold_what_each_sequence_gives_alone()
    {
        await Capture("out", "--points", "*", "--logits", "--loss", "--shard-size", "4MB", "--context", "40");
        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        JsonElement[] shards = Shards("out");
        Assert.True(shards.Length > 2);
        List<long> documents = [];
        foreach (JsonElement shard in shards)
        {
            using var file = SafetensorsFile.Open(Path.Combine(_folder["out"], shard.GetProperty("file").GetString()!));
            long[] ids = file.Tensors["input_ids"].ToIntegers(), offsets = file.Tensors["sequence_offsets"].ToIntegers();
            Assert.Equal(offsets, file.Tensors["input_offsets"].ToIntegers());
            documents.AddRange(file.Tensors["document"].ToIntegers());
            for (int i = 0; i < shard.GetProperty("sequences").GetInt32(); i++)
            {
                (int first, int end) = ((int)offsets[i], (int)offsets[i + 1]);
                long number = shard.GetProperty("first_sequence").GetInt64() + i;
                AssertSequence(model, file, [.. ids[first..end].Select(id => (int)id)], i, number, first);
            }
        }

        // The empty line has a number and no sequence; the last document falls into pieces.
        Assert.Equal([0, 2, 3, 4, 5, 6, 6], documents);
    }

    [Fact]
    public async Task The_batch_size_changes_nothing()
    {
        string[] options =
            ["--points", "blocks.*.hook_resid_post", "*pattern", "--loss", "--shard-size", "100KB", "--context", "30"];
        await Capture("one", [.. options, "--batch", "1"]);
        await Capture("three", [.. options, "--batch", "3", "--threads", "1"]);
        await Capture("default", options);
        AssertSameFolders(_folder["one"], _folder["three"]);
        AssertSameFolders(_folder["one"], _folder["default"]);
    }

    [Fact]
    public async Task Positions_are_each_sequences_own()
    {
        await Capture("out", "--points", "hook_embed", "*.0.attn.hook_pattern", "--logits", "--positions", "5..8");
        using var file = SafetensorsFile.Open(Path.Combine(_folder["out"], "shard-00000.safetensors"));
        long[] input = file.Tensors["input_offsets"].ToIntegers(), kept = file.Tensors["sequence_offsets"].ToIntegers();
        long[] positions = file.Tensors["positions"].ToIntegers();
        for (int i = 0; i + 1 < input.Length; i++)
        {
            int length = (int)(input[i + 1] - input[i]), expected = Math.Clamp(length - 5, 0, 3);
            Assert.Equal(
                Enumerable.Range(5, expected).Select(position => (long)position), positions[(int)kept[i]..(int)kept[i + 1]]);
            Assert.Equal([4, expected, length], file.Tensors[$"sequence/{i}/blocks.0.attn.hook_pattern"].Shape);
        }

        Assert.Equal([kept[^1], 128], file.Tensors["hook_embed"].Shape);
        Assert.Equal([kept[^1], 1024], file.Tensors["logits"].Shape);
    }

    [Theory]
    [InlineData("BF16")]
    [InlineData("F16")]
    [InlineData("I8")]
    public async Task Narrower_types_are_the_values_narrowed(string type)
    {
        string[] options = ["--points", "*", "!*attn_scores", "--logits", "--loss", "--context", "40", "--positions", "1.."];
        foreach ((string wide, string narrow) in ((string, string)[])[("wide", "narrow"), ("wide.safetensors", "narrow.safetensors")])
        {
            string[] all = wide == "wide" ? options : options[..^2];
            await Capture(wide, all);
            await Capture(narrow, [.. all, "--type", type]);
            string shard = wide == "wide" ? "/shard-00000.safetensors" : "";
            using SafetensorsFile expected = SafetensorsFile.Open(_folder[wide] + shard), actual = SafetensorsFile.Open(_folder[narrow] + shard);
            foreach ((string name, SafetensorsEntry values) in expected.Tensors)
            {
                SafetensorsEntry stored = actual.Tensors[name];
                Assert.Equal(values.Shape, stored.Shape);
                if (values.Type != SafetensorsType.F32 || name == "loss")
                {
                    Assert.Equal(values.Bytes, stored.Bytes);
                    continue;
                }

                Assert.Equal(type, stored.Type.ToString());
                int rows = (int)(values.Count / values.Shape[^1]);
                var (bytes, scales) = (new byte[stored.Length], new float[rows]);
                Narrowing.Store(stored.Type, values.ToSingles(), rows, bytes, scales);
                Assert.Equal(bytes, stored.Bytes);
                if (type == "I8")
                {
                    SafetensorsEntry scale = actual.Tensors[Narrowing.ScaleName(name)];
                    Assert.Equal(values.Shape[..^1], scale.Shape);
                    Assert.Equal(scales, scale.ToSingles());
                }
            }
        }
    }

    [Fact]
    public async Task Scores_with_infinities_are_refused_as_I8()
    {
        foreach (string target in (string[])["out", "out.safetensors"])
        {
            string error = await CommandLine.Failure(Arguments(target, "--points", "*", "--type", "I8"));
            Assert.Contains("blocks.0.attn.hook_attn_scores", error, StringComparison.Ordinal);
            Assert.False(Path.Exists(_folder[target]));
        }
    }

    /// <summary>However many batches a shard has, three of them are in memory at a time.</summary>
    [Fact]
    public void Memory_holds_three_batches()
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Model.TalesPath, device);
        HookSelection points = ["*", "!*_input", "!*_result"];
        int[] ids = [.. Enumerable.Range(1, 40)];
        using (RunResult run = model.Run(TokenBatch.Single(ids), new RunOptions { Capture = points, Logits = LogitsWanted.None }))
        {
            Assert.NotEmpty(run.Cache);
        }

        long one = device.Arena.ReservedBytes;
        CaptureSequence[] sequences = [.. Enumerable.Range(0, 80).Select(i => new CaptureSequence(i, ids))];
        using var capture = FolderCapture.Open(model, sequences, _folder["out"], new CaptureOptions { Points = points, Batch = 1 });
        capture.Run(null, TestContext.Current.CancellationToken);
        Assert.Equal(1, capture.Shards);
        Assert.InRange(device.Arena.ReservedBytes, one, 3 * one);
    }

    [Fact]
    public async Task A_finished_capture_is_recognised_and_a_lost_shard_made_again()
    {
        string[] options = ["--points", "hook_embed", "--shard-size", "10KB"];
        await Capture("out", options);
        (int code, _, string error) = await CommandLine.Run(Arguments("out", options));
        Assert.Equal(0, code);
        Assert.Contains("already complete", error, StringComparison.Ordinal);
        string path = Path.Combine(_folder["out"], "shard-00001.safetensors");
        byte[] shard = await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(path, shard[..100], TestContext.Current.CancellationToken);
        (_, _, error) = await CommandLine.Run(Arguments("out", options));
        Assert.Contains("resuming after shard 1", error, StringComparison.Ordinal);
        await Capture("fresh", options);
        AssertSameFolders(_folder["fresh"], _folder["out"]);
    }

    [Theory]
    [InlineData("points", "--points", "hook_pos_embed")]
    [InlineData("settings.loss", "--points", "hook_embed", "--loss")]
    [InlineData("settings.type", "--points", "hook_embed", "--type", "BF16")]
    [InlineData("settings.positions", "--points", "hook_embed", "--positions", "-1")]
    [InlineData("settings.shard_bytes", "--points", "hook_embed", "--shard-size", "1MB")]
    [InlineData("input", "--points", "hook_embed", "--no-bos")]
    [InlineData("device", "--points", "hook_embed", "--device", "reference")]
    public async Task Another_capture_is_not_mixed_in(string difference, params string[] options)
    {
        await Capture("out", "--points", "hook_embed");
        string error = await CommandLine.Failure(Arguments("out", options));
        Assert.Contains($"another capture: {difference}", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_model_is_refused()
    {
        string model = _folder["model"];
        Directory.CreateDirectory(model);
        foreach (string file in Directory.EnumerateFiles(Model.TalesPath))
        {
            File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
        }

        string weights = Path.Combine(model, "model.safetensors");
        await Capture("out", "--points", "hook_embed");
        byte[] bytes = await File.ReadAllBytesAsync(weights, TestContext.Current.CancellationToken);
        bytes[^1] ^= 1;
        await File.WriteAllBytesAsync(weights, bytes, TestContext.Current.CancellationToken);
        string error = await CommandLine.Failure(
            "capture", model, "--text", _folder["texts.txt"], "--points", "hook_embed", "--out", _folder["out"]);
        Assert.Contains("another capture: model.sha256", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Folders_that_are_no_capture_or_in_use_are_left_alone()
    {
        Directory.CreateDirectory(_folder["mine"]);
        await File.WriteAllTextAsync(Path.Combine(_folder["mine"], "thesis.tex"), "x", TestContext.Current.CancellationToken);
        string error = await CommandLine.Failure(Arguments("mine", "--points", "hook_embed"));
        Assert.Contains("thesis.tex", error, StringComparison.Ordinal);
        Assert.Equal(["thesis.tex"], Directory.EnumerateFileSystemEntries(_folder["mine"]).Select(Path.GetFileName));

        await Capture("out", "--points", "hook_embed");
        await File.WriteAllTextAsync(Path.Combine(_folder["out"], "index.json"), "{", TestContext.Current.CancellationToken);
        error = await CommandLine.Failure(Arguments("out", "--points", "hook_embed"));
        Assert.Contains("index.json", error, StringComparison.Ordinal);

        string held = Path.Combine(_folder["out"], ".interp-capture.lock");
        using (new FileStream(held, FileMode.Create, FileAccess.ReadWrite, FileShare.None))
        {
            error = await CommandLine.Failure(Arguments("out", "--points", "hook_embed"));
            Assert.Contains("in use", error, StringComparison.Ordinal);
        }

        error = await CommandLine.Failure(Arguments("texts.txt", "--points", "hook_embed"));
        Assert.Contains("texts.txt", error, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>Same names, same bytes.</summary>
    internal static void AssertSameFolders(string expected, string actual)
    {
        string?[] names = [.. Directory.EnumerateFileSystemEntries(expected).Select(Path.GetFileName).Order()];
        Assert.Equal(names, Directory.EnumerateFileSystemEntries(actual).Select(Path.GetFileName).Order());
        foreach (string? name in names)
        {
            byte[] wanted = File.ReadAllBytes(Path.Combine(expected, name!)), found = File.ReadAllBytes(Path.Combine(actual, name!));
            Assert.True(wanted.AsSpan().SequenceEqual(found), name);
        }
    }

    private static void AssertSequence(Model model, SafetensorsFile file, int[] ids, int index, long number, int first)
    {
        using RunResult run = model.Run(
            TokenBatch.Single(ids),
            new RunOptions { Capture = HookSelection.All, RemoveBatch = true, Loss = ids.Length > 1 },
            TestContext.Current.CancellationToken);
        foreach ((HookPoint point, Tensor tensor) in run.Cache)
        {
            if (point.Kind is HookKind.Pattern or HookKind.AttnScores)
            {
                SafetensorsEntry whole = file.Tensors[$"sequence/{number}/{point.Name}"];
                Assert.Equal(tensor.Shape.Axes.ToArray().Select(axis => (long)axis), whole.Shape);
                Assert.Equal(tensor.ToArray<float>(), whole.ToSingles());
            }
            else
            {
                AssertRows(tensor, file.Tensors[point.Name], first);
            }
        }

        AssertRows(run.Logits!, file.Tensors["logits"], first);
        float loss = file.Tensors["loss"].ToSingles()[index];
        Assert.Equal(run.Loss is { } value ? (float)value : float.NaN, loss);
    }

    private static void AssertRows(Tensor expected, SafetensorsEntry stored, int first)
    {
        int width = (int)(stored.Count / stored.Shape[0]);
        float[] values = expected.ToArray<float>();
        Assert.Equal(values, stored.ToSingles().AsSpan(first * width, values.Length).ToArray());
    }

    private string[] Arguments(string folder, params string[] options) =>
        ["capture", "tales", "--text", _folder["texts.txt"], "--out", _folder[folder], .. options];

    private Task<string> Capture(string folder, params string[] options) => CommandLine.Success(Arguments(folder, options));

    private JsonElement[] Shards(string folder)
    {
        using var index = JsonDocument.Parse(File.ReadAllText(Path.Combine(_folder[folder], "index.json")));
        Assert.True(index.RootElement.GetProperty("complete").GetBoolean());
        return [.. index.RootElement.Clone().GetProperty("shards").EnumerateArray()];
    }
}
