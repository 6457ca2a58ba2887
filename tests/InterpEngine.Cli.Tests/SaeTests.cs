using System.Text.Json;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Cli.Tests;

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
        await File.WriteAllLinesAsync(texts, ["Once upon a time there was a dog.", "The cat sat.", "Tom and Mia went home."], TestContext.Current.CancellationToken);
        string[] command = ["sae", "eval", sae, "--model", "tales", "--text", texts, "--batch", "2", "--context", "16"];
        JsonElement eval = await CommandLine.Json([.. command, "--json"]);

        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        using SparseDictionary dictionary = SparseDictionary.Load(sae, device);
        var ignored = Enumerable.Range(0, model.Description.Vocabulary).Where(model.Tokenizer.IsSpecial).ToHashSet();
        DictionaryEvaluation expected = DictionaryEvaluator.Evaluate(
            model, dictionary, Batches(model, texts), new EvaluationOptions { IgnoredTokens = ignored });
        JsonElement quality = eval.GetProperty("reconstruction_quality"), performance = eval.GetProperty("model_performance_preservation");
        Assert.Equal(expected.ExplainedVariance, quality.GetProperty("explained_variance").GetDouble(), 1e-9);
        Assert.Equal(expected.LossScore, performance.GetProperty("ce_loss_score").GetDouble(), 1e-9);
        Assert.Equal(3, eval.GetProperty("sparsity").GetProperty("l0").GetDouble(), 1.0);
        Assert.Equal(24, eval.GetProperty("features").GetProperty("count").GetInt32());
        Assert.Contains("reconstruction_quality.mse", await CommandLine.Success(command), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Apply_writes_features_and_reconstruction()
    {
        string sae = Write(features: 24, k: 3), input = Path.Combine(_folder, "x.safetensors"), output = Path.Combine(_folder, "out.safetensors");
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
    public async Task Bad_input_is_refused()
    {
        string sae = Write(features: 24, k: 3), input = Path.Combine(_folder, "x.safetensors");
        using (var writer = new SafetensorsWriter(input, [new SafetensorsDeclaration("x", SafetensorsType.F32, 1, 3)]))
        {
            writer.Write("x", new byte[12]);
            writer.Complete();
        }

        Assert.Contains("no such folder", await CommandLine.Failure("sae", "info", Path.Combine(_folder, "nothing")), StringComparison.Ordinal);
        Assert.Contains($"rows of {_width}", await CommandLine.Failure("sae", "apply", sae, "--input", input, "--out", "y.safetensors"), StringComparison.Ordinal);
        Assert.Contains("no tensor 'z'", await CommandLine.Failure("sae", "apply", sae, "--input", input, "--tensor", "z", "--out", "y.safetensors"), StringComparison.Ordinal);
        Assert.Contains("positive", await CommandLine.Failure("sae", "convert", sae, "--out", _folder, "--fold-activation-scale", "-1"), StringComparison.Ordinal);
    }

    private static IEnumerable<TokenBatch> Batches(Model model, string texts) => File.ReadAllLines(texts)
        .SelectMany(line => Pieces(model.Tokenize(line).Ids.ToArray(), model)).Chunk(2).Select(TokenBatch.LeftPadded);

    /// <summary>As the tool splits at 16 tokens: pieces all begin as the document does.</summary>
    private static IEnumerable<int[]> Pieces(int[] ids, Model model) => ids.Length <= 16 ? [ids]
        : model.Tokenizer.IsSpecial(ids[0]) ? ids[1..].Chunk(15).Select(piece => (int[])[ids[0], .. piece]) : ids.Chunk(16);

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
