using System.Text.Json;
using InterpEngine.Cli.Sae;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Cli.Tests.Sae;

/// <summary><c>interp sae</c> on dictionaries that are made here.</summary>
public sealed class SaeTests : IDisposable
{
    private const string Point = "blocks.1.hook_resid_post";
    private readonly string _folder = Directory.CreateTempSubdirectory("interp-sae-").FullName;
    private readonly int _width = Model.ReadDescription(Model.TalesPath).Width;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Info_says_what_a_dictionary_is()
    {
        string sae = Write(features: 24, k: 3);
        JsonElement info = await CommandLine.Json("sae", "info", sae, "--json");
        Assert.Equal(24, info.GetProperty("features").GetInt32());
        Assert.Equal(_width, info.GetProperty("input_width").GetInt32());
        Assert.Equal(("TopK", 3), (info.GetProperty("activation").GetString(), info.GetProperty("k").GetDouble()));
        Assert.Equal(Point, info.GetProperty("hook_name").GetString());
        string text = await CommandLine.Success("sae", "info", sae);
        Assert.Contains("TopK, k = 3", text, StringComparison.Ordinal);
        Assert.Contains(Point, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Eval_measures_what_the_library_measures()
    {
        string sae = Write(features: 24, k: 3), texts = Path.Combine(_folder, "texts.txt");
        await File.WriteAllLinesAsync(
            texts, ["Once upon a time there was a dog.", "The cat sat.", "Tom and Mia went home."], TestContext.Current.CancellationToken);
        string[] command = ["sae", "eval", sae, "--model", "tales", "--text", texts, "--batch", "2", "--context", "16"];
        JsonElement eval = await CommandLine.Json([.. command, "--json"]);

        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        using SparseDictionary dictionary = SparseDictionary.Load(sae, device);
        var ignored = Enumerable.Range(0, model.Description.Vocabulary).Where(model.Tokenizer.IsSpecial).ToHashSet();
        IEnumerable<TokenBatch> batches = PackedSequences.Of(model, File.ReadAllLines(texts), 16, begins: true, rest: true).Chunk(2)
            .Select(TokenBatch.LeftPadded);
        DictionaryEvaluation expected = DictionaryEvaluator.Evaluate(
            model, dictionary, batches, new EvaluationOptions { IgnoredTokens = ignored });
        JsonElement quality = eval.GetProperty("reconstruction_quality"), performance = eval.GetProperty("model_performance_preservation");
        Assert.Equal(expected.ExplainedVariance, quality.GetProperty("explained_variance").GetDouble(), 1e-9);
        Assert.Equal(expected.LossScore, performance.GetProperty("ce_loss_score").GetDouble(), 1e-9);
        Assert.Equal(3, eval.GetProperty("sparsity").GetProperty("l0").GetDouble(), 1.0);
        Assert.Equal(24, eval.GetProperty("features").GetProperty("count").GetInt32());
        Assert.Equal(24, eval.GetProperty("similarity").GetProperty("nearest_cosine_histogram").GetProperty("counts").EnumerateArray()
            .Sum(n => n.GetInt32()));
        JsonElement each = (await CommandLine.Json([.. command, "--json", "--per-feature", "--save-densities"]))
            .GetProperty("feature_metrics");
        Assert.Equal(expected.Use.Density, each.GetProperty("feature_density").EnumerateArray().Select(n => n.GetDouble()));
        Assert.Equal(expected.Use.Density, FeatureDensities.Read(sae, 24)!, (a, b) => Math.Abs(a - b) < 1e-6);
        Assert.Contains("reconstruction_quality.mse", await CommandLine.Success(command), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Apply_writes_features_and_reconstruction()
    {
        string sae = Write(features: 24, k: 3), input = Path.Combine(_folder, "x.safetensors"),
            output = Path.Combine(_folder, "out.safetensors");
        float[] x = Values(7 * _width, 5);
        using (var writer = new SafetensorsWriter(input, [new SafetensorsDeclaration("x", SafetensorsType.F32, 7, _width)]))
        {
            writer.Write("x", System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(x));
            writer.Complete();
        }

        using Device device = Device.Cpu();
        using SparseDictionary dictionary = SparseDictionary.Load(sae, device);
        using Tensor rows = device.Upload<float>(x, 7, _width);
        using Encoding encoding = dictionary.Encode(rows);
        using Tensor reconstruction = dictionary.Decode(encoding);
        await CommandLine.Success("sae", "apply", sae, "--input", input, "--out", output);
        using (SafetensorsFile dense = SafetensorsFile.Open(output))
        {
            Assert.Equal(encoding.Features.ToDense(), dense.Tensors["features"].ToSingles());
            Assert.Equal(reconstruction.ToArray<float>(), dense.Tensors["reconstruction"].ToSingles());
        }

        await CommandLine.Success("sae", "apply", sae, "--input", input, "--tensor", "x", "--out", output, "--sparse");
        using SafetensorsFile sparse = SafetensorsFile.Open(output);
        (int[] pointers, int[] indices, float[] values) = encoding.Features.ToArrays();
        Assert.Equal(pointers.Select(pointer => (long)pointer), sparse.Tensors["features.row_pointers"].ToIntegers());
        Assert.Equal(indices.Select(index => (long)index), sparse.Tensors["features.indices"].ToIntegers());
        Assert.Equal(values, sparse.Tensors["features.values"].ToSingles());
        Assert.Equal(reconstruction.ToArray<float>(), sparse.Tensors["reconstruction"].ToSingles());
    }

    [Theory]
    [InlineData("F32")]
    [InlineData("I8")]
    public async Task A_capture_is_read_shard_by_shard(string type)
    {
        string sae = Write(features: 24, k: 3), texts = Path.Combine(_folder, "texts.txt"), capture = Path.Combine(_folder, "capture");
        string whole = Path.Combine(_folder, "whole.safetensors"), parts = Path.Combine(_folder, "parts.safetensors");
        await File.WriteAllLinesAsync(texts, TalesCorpus.Documents(3).Take(40), TestContext.Current.CancellationToken);
        await CommandLine.Success(
            "capture", "tales", "--text", texts, "--points", Point, "--out", capture, "--shard-size", "200KB", "--type", type);
        string[] shards = Directory.GetFiles(capture, "*.safetensors").Order(StringComparer.Ordinal).ToArray();
        Assert.True(shards.Length > 1);
        JsonElement applied = await CommandLine.Json(
            "sae", "apply", sae, "--input", capture, "--tensor", Point, "--out", parts, "--sparse", "--json");

        float[] rows = [.. shards.SelectMany(shard => Rows(shard))];
        using (var writer = new SafetensorsWriter(
            whole, [new SafetensorsDeclaration("x", SafetensorsType.F32, rows.Length / _width, _width)]))
        {
            writer.Write("x", System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(rows));
            writer.Complete();
        }

        await CommandLine.Success("sae", "apply", sae, "--input", whole, "--out", whole, "--sparse");
        Assert.Equal(File.ReadAllBytes(whole), File.ReadAllBytes(parts));
        Assert.Equal(rows.Length / _width, applied.GetProperty("rows").GetInt64());
        JsonElement eval = await CommandLine.Json(
            "sae", "eval", sae, "--input", capture, "--tensor", Point, "--metrics", "dictionary_learning", "--json");
        Assert.Equal(applied.GetProperty("l0").GetDouble(), eval.GetProperty("dictionary_learning").GetProperty("l0").GetDouble(), 0.2);

        static float[] Rows(string shard)
        {
            using SafetensorsFile file = SafetensorsFile.Open(shard);
            SafetensorsEntry entry = file.Tensors[Point];
            if (entry.Type == SafetensorsType.F32)
            {
                return entry.ToSingles();
            }

            float[] scales = file.Tensors[$"{Point}.scale"].ToSingles();
            return [.. entry.ToIntegers().Select((stored, i) => stored * scales[i / (int)entry.Shape[^1]])];
        }
    }

    [Fact]
    public async Task Eval_has_dictionary_learnings_measures_too()
    {
        string sae = Write(features: 24, k: 3);
        string[] command = ["sae", "eval", sae, "--model", "tales", "--tokens", "500", "--batch", "3", "--no-bos"];
        JsonElement averaged = (await CommandLine.Json([.. command, "--metrics", "dictionary_learning", "--json"]))
            .GetProperty("dictionary_learning");
        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        using SparseDictionary dictionary = SparseDictionary.Load(sae, device);
        TokenBatch tokens = TokenBatch.LeftPadded(
            [.. PackedSequences.Of(model, TalesCorpus.Documents(SaeTexts.HeldOutSeed), 128, begins: false, rest: true).Take(3)]);
        RecoveredLoss expected = RecoveredLoss.Measure(model, dictionary, tokens);
        Assert.Equal(expected.Recovered, averaged.GetProperty("frac_recovered").GetDouble(), 1e-9);
        Assert.Equal(3, averaged.GetProperty("l0").GetDouble(), 1.0);
    }

    [Fact]
    public async Task Convert_writes_the_same_function()
    {
        string sae = Write(features: 24, k: 0), converted = Path.Combine(_folder, "converted");
        await CommandLine.Success("sae", "convert", sae, "--out", converted, "--fold-decoder-norms");
        using Device device = Device.Cpu();
        using SparseDictionary before = SparseDictionary.Load(sae, device), after = SparseDictionary.Load(converted, device);
        using Tensor x = device.Upload<float>(Values(5 * _width, 6), 5, _width);
        using Tensor expected = before.Reconstruct(x), actual = after.Reconstruct(x);
        Assert.All(expected.ToArray<float>().Zip(actual.ToArray<float>()), pair => Assert.Equal(pair.First, pair.Second, 1e-3f));
        Assert.All(after.Parameters.DecoderNorms(), norm => Assert.Equal(1, norm, 1e-5f));
    }

    [Fact]
    public async Task A_transcoder_for_every_layer_is_one_at_a_time()
    {
        string folder = TranscoderFolder.Write(Path.Combine(_folder, "set"), _width, layers: 4, features: 6);
        JsonElement set = await CommandLine.Json("sae", "info", folder, "--json"),
            layer = await CommandLine.Json("sae", "info", folder, "--layer", "2", "--json");
        Assert.Equal((4, 6), (set.GetProperty("layers").GetInt32(), set.GetProperty("features").GetInt32()));
        Assert.Equal("blocks.2.hook_resid_mid", layer.GetProperty("hook_name").GetString());
        Assert.Contains("--layer N, 0 to 3", await CommandLine.Failure("sae", "eval", folder), StringComparison.Ordinal);
        Assert.Contains("no layer 4", await CommandLine.Failure("sae", "eval", folder, "--layer", "4"), StringComparison.Ordinal);
        JsonElement eval = await CommandLine.Json("sae", "eval", folder, "--layer", "1", "--model", "tales", "--tokens", "300", "--json");
        Assert.Equal(6, eval.GetProperty("features").GetProperty("count").GetInt32());
        Assert.Contains("one dictionary", await CommandLine.Failure("sae", "info", Write(features: 24, k: 3), "--layer", "1"),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bad_input_is_refused()
    {
        string sae = Write(features: 24, k: 3), input = Path.Combine(_folder, "x.safetensors");
        using (var writer = new SafetensorsWriter(input, [new SafetensorsDeclaration("x", SafetensorsType.F32, 1, 3)]))
        {
            writer.Write("x", new byte[12]);
            writer.Complete();
        }

        Assert.Contains("no such folder", await CommandLine.Failure("sae", "info", Path.Combine(_folder, "nothing")),
            StringComparison.Ordinal);
        Assert.Contains($"rows of {_width}", await CommandLine.Failure("sae", "apply", sae, "--input", input, "--out", "y.safetensors"),
            StringComparison.Ordinal);
        Assert.Contains("no tensor 'z'",
            await CommandLine.Failure("sae", "apply", sae, "--input", input, "--tensor", "z", "--out", "y.safetensors"),
                StringComparison.Ordinal);
        Assert.Contains("no index.json", await CommandLine.Failure("sae", "apply", sae, "--input", _folder, "--out", "y.safetensors"),
            StringComparison.Ordinal);
        Assert.Contains("--model", await CommandLine.Failure("sae", "eval", sae), StringComparison.Ordinal);
        Assert.Contains("dictionary_learning", await CommandLine.Failure("sae", "eval", sae, "--input", input), StringComparison.Ordinal);
        Assert.Contains("positive", await CommandLine.Failure("sae", "convert", sae, "--out", _folder, "--fold-activation-scale", "-1"),
            StringComparison.Ordinal);
    }

    private string Write(int features, int k)
    {
        string folder = Path.Combine(_folder, "sae");
        DictionaryFile.Write(
            folder,
            new DictionaryConfig
            {
                InputWidth = _width,
                OutputWidth = _width,
                Features = features,
                Rule = k > 0 ? new ActivationRule(ActivationKind.TopK, k) : ActivationRule.Relu,
                HookName = Point,
            },
            new DictionaryParameters
            {
                Encoder = Values(features * _width, 1),
                Decoder = Values(features * _width, 2),
                EncoderBias = Values(features, 3),
                DecoderBias = Values(_width, 4),
            });
        return folder;
    }

    private static float[] Values(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }
}
