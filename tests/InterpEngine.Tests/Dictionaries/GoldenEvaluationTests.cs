using System.Text.Json;
using System.Text.Json.Nodes;
using InterpEngine.Dictionaries;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Every evaluation of the goldens: each stored tensor and each figure.</summary>
public sealed class GoldenEvaluationTests
{
    /// <summary>Figures are ratios of sums of what fp32 computed.</summary>
    private const double Tolerance = 3e-5;

    public static IEnumerable<TheoryDataRow<string, string>> CasesAndDevices() =>
        from name in Goldens.Cases("sae-eval")
        from device in TestDevices.Names
        select new TheoryDataRow<string, string>(name, device) { TestDisplayName = $"{name} / {device}" };

    [Fact]
    public void There_are_cases() => Assert.NotEmpty(Goldens.Cases("sae-eval"));

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Every_figure_is_the_true_one(string name, string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        using var golden = new GoldenCase("sae-eval", name);
        using Model model = Model.Load(Path.Combine(golden.Folder, "model"), device);
        if (golden.Json.GetProperty("library").GetString() == "sae-lens")
        {
            CompareSaeLens(golden, model);
        }
        else
        {
            CompareDictionaryLearning(golden, model);
        }

        golden.AssertAllSeen();
    }

    private static void CompareSaeLens(GoldenCase golden, Model model)
    {
        using SparseDictionary dictionary = SparseDictionary.Load(Path.Combine(golden.Folder, "sae"), model.Device);
        JsonElement given = golden.Options;
        var options = new EvaluationOptions
        {
            IgnoredTokens = given.GetProperty("ignore").EnumerateArray().Select(token => token.GetInt32()).ToHashSet(),
            Point = given.GetProperty("hook").GetString(),
            InputScale = given.TryGetProperty("scale", out JsonElement scale) ? scale.GetSingle() : 1,
        };
        int[] shape = golden.Shape("tokens"), ids = golden.Integers("tokens");
        int size = shape[1] * shape[2];
        TokenBatch[] batches = [.. ids.Chunk(size).Select(batch => TokenBatch.Rectangle(batch, shape[1], shape[2]))];
        var evaluator = new DictionaryEvaluator(model, dictionary, options);
        var parts = new Dictionary<string, List<float>>();
        foreach (TokenBatch batch in batches)
        {
            using EvaluatedBatch evaluated = evaluator.Run(batch);
            Collect(parts, evaluated, batch);
            CollectLogits(parts, model, dictionary, options, batch, evaluated.Counted);
            evaluator.Add(batch);
        }

        foreach ((string tensor, List<float> values) in parts)
        {
            golden.Compare(tensor, values, Tolerance);
        }

        DictionaryEvaluation result = evaluator.Result();
        Compare(golden.Json.GetProperty("metrics"), result.ToJson(), "metrics");
        DictionaryParameters parameters = dictionary.Parameters;
        golden.Compare("feature.encoder_bias", parameters.EncoderBias);
        golden.Compare("feature.encoder_norm", FeatureWeights.EncoderNorms(parameters));
        golden.Compare("feature.encoder_decoder_cosine_sim", FeatureWeights.EncoderDecoderCosines(parameters));
        golden.Compare("feature.feature_density", [.. result.Use.Density.Select(value => (float)value)]);
        CompareWithHoles(golden, "feature.consistent_activation_heuristic", result.Use.ActivationsPerPrompt);
    }

    private static void Collect(Dictionary<string, List<float>> parts, EvaluatedBatch batch, TokenBatch tokens)
    {
        Add(parts, "x", batch.X);
        Add(parts, "acts", batch.Features.ToDense());
        Add(parts, "reconstruction", batch.Reconstruction);
        Add(parts, "per_token.kl_div_with_sae", Singles(batch.WithSae.Divergence));
        Add(parts, "per_token.kl_div_with_ablation", Singles(batch.Ablated.Divergence));
        foreach ((string name, PredictionShift shift) in ((string, PredictionShift)[])
            [("without_sae", batch.Clean), ("with_sae", batch.WithSae), ("with_ablation", batch.Ablated)])
        {
            Add(parts, $"per_token.ce_loss_{name}", Singles(shift.CrossEntropy.Where((_, i) => i % tokens.Length < tokens.Length - 1)));
        }
    }

    private static void CollectLogits(
        Dictionary<string, List<float>> parts, Model model, SparseDictionary dictionary, EvaluationOptions options, TokenBatch batch, bool[] counted)
    {
        var splice = new Splice(dictionary)
        {
            ReadsAt = options.Point,
            InputScale = options.InputScale,
            Untouched = [.. counted.Select(counts => !counts)],
        };
        using RunResult clean = model.Run(batch), spliced = model.Run(batch, [splice]);
        using RunResult ablated = model.Run(
            batch, new RunOptions { Hooks = [new Hook(options.Point!, (_, value) => DictionaryEvaluator.Zeros(value))] });
        Add(parts, "logits", clean.Logits!.ToArray<float>());
        Add(parts, "sae_logits", spliced.Logits!.ToArray<float>());
        Add(parts, "ablated_logits", ablated.Logits!.ToArray<float>());
    }

    private static void CompareDictionaryLearning(GoldenCase golden, Model model)
    {
        Device device = model.Device;
        using SparseDictionary dictionary = LoadState(golden, device);
        bool normalize = golden.Options.TryGetProperty("normalize_batch", out JsonElement flag) && flag.GetBoolean();
        int[] shape = golden.Shape("batches");
        float[] all = golden.Input("batches");
        Tensor[] batches = [.. all.Chunk(shape[1] * shape[2]).Select(batch => device.Upload<float>(batch, shape[1], shape[2]))];
        var features = new List<float>();
        var reconstructions = new List<float>();
        foreach (Tensor batch in batches)
        {
            using Tensor x = device.Allocate(ElementType.F32, batch.Shape);
            device.Run(new Map { X = batch, Kind = MapKind.Scale, Parameter = normalize ? ActivationEvaluation.NormFactor(batch) : 1, Out = x });
            using Encoding encoding = dictionary.Encode(x);
            using Tensor reconstruction = dictionary.Decode(encoding);
            features.AddRange(encoding.Features.ToDense());
            reconstructions.AddRange(reconstruction.ToArray<float>());
        }

        golden.Compare("features", features, Tolerance);
        golden.Compare("reconstruction", reconstructions, Tolerance);
        ActivationEvaluation result = ActivationEvaluation.Evaluate(dictionary, batches, normalize);
        Array.ForEach(batches, batch => batch.Dispose());
        Compare(golden.Json.GetProperty("metrics"), new JsonObject
        {
            ["l2_loss"] = result.L2Loss,
            ["l1_loss"] = result.L1Loss,
            ["l0"] = result.L0,
            ["cossim"] = result.Cosine,
            ["l2_ratio"] = result.NormRatio,
            ["frac_variance_explained"] = result.VarianceExplained,
            ["relative_reconstruction_bias"] = result.RelativeReconstructionBias,
            ["frac_alive"] = result.AliveShare,
        }, "metrics");
        CompareLoss(golden, model, dictionary, normalize);
    }

    private static void CompareLoss(GoldenCase golden, Model model, SparseDictionary dictionary, bool normalize)
    {
        string point = new HookPoint(HookKind.ResidPost, golden.Options.GetProperty("block").GetInt32()).Name;
        int[] shape = golden.Shape("tokens");
        TokenBatch tokens = TokenBatch.Rectangle(golden.Integers("tokens"), shape[0], shape[1]);
        RecoveredLoss loss = RecoveredLoss.Measure(model, dictionary, tokens, point, normalize);
        Compare(golden.Json.GetProperty("loss_recovered"), new JsonObject
        {
            ["loss_original"] = loss.Original,
            ["loss_reconstructed"] = loss.Reconstructed,
            ["loss_zero"] = loss.Zero,
            ["frac_recovered"] = loss.Recovered,
        }, "loss_recovered");

        using RunResult clean = model.Run(tokens, new RunOptions { Capture = point });
        Tensor x = clean.Cache[point];
        var splice = new Splice(dictionary) { ReadsAt = point, InputScale = normalize ? ActivationEvaluation.NormFactor(x) : 1 };
        using RunResult spliced = model.Run(tokens, [splice], new RunOptions { Capture = point });
        using RunResult ablated = model.Run(tokens, new RunOptions { Hooks = [new Hook(point, (_, value) => DictionaryEvaluator.Zeros(value))] });
        golden.Compare("hook_x", x.ToArray<float>(), Tolerance);
        golden.Compare("hook_x_hat", spliced.Cache[point].ToArray<float>(), Tolerance);
        golden.Compare("logits", clean.Logits!.ToArray<float>(), Tolerance);
        golden.Compare("spliced_logits", spliced.Logits!.ToArray<float>(), Tolerance);
        golden.Compare("ablated_logits", ablated.Logits!.ToArray<float>(), Tolerance);
    }

    /// <summary>The state alone: its configuration is in the case's own description.</summary>
    private static SparseDictionary LoadState(GoldenCase golden, Device device)
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(golden.Folder, "ae.safetensors"), Path.Combine(folder.Path, "ae.safetensors"));
        string kind = golden.Options.GetProperty("kind").GetString() == "batchtopk" ? "BatchTopKSAE" : "AutoEncoder";
        var trainer = new JsonObject { ["dict_class"] = kind };
        if (golden.Options.TryGetProperty("k", out JsonElement k))
        {
            trainer["k"] = k.GetInt32();
        }

        File.WriteAllText(Path.Combine(folder.Path, "config.json"), new JsonObject { ["trainer"] = trainer, ["buffer"] = new JsonObject() }.ToJsonString());
        return SparseDictionary.Load(folder.Path, device);
    }

    private static void Compare(JsonElement expected, JsonNode? actual, string path)
    {
        if (expected.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty property in expected.EnumerateObject())
            {
                Compare(property.Value, actual?[property.Name], $"{path}.{property.Name}");
            }

            return;
        }

        double truth = expected.GetDouble(), value = actual is null ? double.NaN : JsonSerializer.Deserialize<double>(actual);
        Assert.True(Math.Abs(truth - value) <= Tolerance * Math.Max(1, Math.Abs(truth)), $"{path} is {value}; expected {truth}");
    }

    private static void CompareWithHoles(GoldenCase golden, string name, double[] values)
    {
        float[] truth = golden.Input(name);
        Assert.Equal(truth.Length, values.Length);
        Assert.All(truth.Zip(values), pair => Assert.True(
            float.IsNaN(pair.First) ? double.IsNaN(pair.Second) : Math.Abs(pair.First - pair.Second) < 1e-5, $"{name}: {pair}"));
    }

    private static void Add(Dictionary<string, List<float>> parts, string name, IEnumerable<float> values)
    {
        if (!parts.TryGetValue(name, out List<float>? list))
        {
            parts[name] = list = [];
        }

        list.AddRange(values);
    }

    private static IEnumerable<float> Singles(IEnumerable<double> values) => values.Select(value => (float)value);
}
