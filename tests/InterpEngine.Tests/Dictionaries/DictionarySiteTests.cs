using InterpEngine.Circuits;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Dictionaries at their place in the model that comes along: what they read, what they say to the output, what they
/// cost.</summary>
public sealed class DictionarySiteTests : IDisposable
{
    private readonly Device _device = Device.Cpu(threads: 1);
    private readonly Model _model;

    public DictionarySiteTests() => _model = Model.Load(Model.TalesPath, _device);

    public void Dispose()
    {
        _model.Dispose();
        _device.Dispose();
    }

    /// <summary>With a decoder of unit vectors a feature is a channel, and what channels say must add up to direct logit
    /// attribution.</summary>
    [Theory]
    [InlineData("blocks.3.attn.hook_z", ComponentKind.Head)]
    [InlineData("blocks.3.mlp.hook_post", ComponentKind.Mlp)]
    [InlineData("hook_embed", ComponentKind.Embed)]
    public void Features_add_up_to_direct_logit_attribution(string point, ComponentKind kind)
    {
        const int answer = 321;
        var capture = HookSelection.Create([.. DirectLogitAttribution.Points(_model), point]);
        using RunResult run = _model.Run(_model.Tokenize("The capital of France is"), new RunOptions { Capture = capture });
        float[] values = run.Cache[point].ToArray<float>();
        int width = (int)(run.Cache[point].Shape.Count / run.Cache[new HookPoint(HookKind.LnFinalScale)].Shape.Count);
        using SparseDictionary channels = Identity(width, point);
        var site = new DictionarySite(_model, channels);
        float[] towards = FeatureLogits.Towards(site, [.. Enumerable.Range(0, width)], answer);
        float scale = run.Cache[new HookPoint(HookKind.LnFinalScale)].ToArray<float>()[^1];
        double sum = values[^width..].Zip(towards, (value, each) => (double)value * each).Sum() / scale;
        double expected = DirectLogitAttribution.Explain(_model, run.Cache, ^1, answer).Components
            .Where(part => part.Kind == kind && (kind == ComponentKind.Embed || part.Layer == 3)).Sum(part => part.Value);
        Assert.Equal(expected, sum, 1e-4);
    }

    [Fact]
    public void Strongest_logits_are_those_of_all_tokens()
    {
        using SparseDictionary dictionary = Random(_model.Description.Width, 9, "blocks.2.hook_resid_post");
        var site = new DictionarySite(_model, dictionary);
        int[] features = [4, 0, 8];
        FeatureEffect[] effects = [.. FeatureLogits.Of(site, features, 3)];
        float[][] all = [.. Enumerable.Range(0, _model.Description.Vocabulary)
            .Select(token => FeatureLogits.Towards(site, features, token))];
        for (int i = 0; i < features.Length; i++)
        {
            int[] ranked = [.. Enumerable.Range(0, all.Length).OrderByDescending(token => all[token][i])];
            Assert.Equal(ranked[..3], effects[i].Raised.Select(token => token.Token));
            Assert.Equal(ranked[^3..].Reverse(), effects[i].Lowered.Select(token => token.Token));
            Assert.All(effects[i].Raised.Concat(effects[i].Lowered), token => Assert.Equal(all[token.Token][i], token.Logit, 1e-4f));
        }

        Assert.Contains("no feature 9", Assert.Throws<DictionaryException>(() => FeatureLogits.Of(site, [9], 3)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Where_there_is_no_way_to_the_output_there_are_no_logits()
    {
        using SparseDictionary dictionary = Random(_model.Description.Width, 4, "blocks.1.ln2.hook_normalized");
        var site = new DictionarySite(_model, dictionary);
        Assert.Contains("not added", FeatureLogits.WhyAbsent(site), StringComparison.Ordinal);
        Assert.Throws<DictionaryException>(() => FeatureLogits.Of(site, [0], 3));
    }

    [Fact]
    public void A_crosscoder_reads_its_points_side_by_side()
    {
        string[] points = ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"];
        int d = _model.Description.Width;
        using SparseDictionary crosscoder = Random(2 * d, 20, null, layers: 2);
        var site = new DictionarySite(_model, crosscoder, string.Join(',', points));
        using RunResult run = _model.Run(_model.Tokenize("Mary lost her"), site.Options);
        using Encoding encoding = site.Encode(run.Cache);
        float[][] parts = [.. points.Select(point => run.Cache[point].ToArray<float>())];
        int rows = parts[0].Length / d;
        float[] stacked = [.. from row in Enumerable.Range(0, rows) from part in parts from i in Enumerable.Range(0, d) select part[
            row * d + i]];
        using Tensor x = _device.Upload<float>(stacked, rows, 2 * d);
        using Encoding expected = crosscoder.Encode(x);
        Assert.Equal(expected.Features.ToDense(), encoding.Features.ToDense());
        Assert.Throws<DictionaryException>(() => new DictionarySite(_model, crosscoder, points[0]));
    }

    [Fact]
    public void A_dictionary_that_does_not_fit_is_refused_by_name()
    {
        using SparseDictionary narrow = Random(7, 4, null);
        Assert.Contains("which hook point", Assert.Throws<DictionaryException>(() => new DictionarySite(_model, narrow)).Message,
            StringComparison.Ordinal);
        Assert.Contains("width 7", Assert.Throws<DictionaryException>(() => new DictionarySite(_model, narrow, "hook_embed")).Message,
            StringComparison.Ordinal);
        Assert.Throws<HookException>(() => new DictionarySite(_model, narrow, "blocks.9.hook_resid_post"));
    }

    [Fact]
    public void A_transcoder_is_judged_by_what_it_writes()
    {
        // What stands before the second block is what stands after the first: a way around the features makes a perfect transcoder.
        int d = _model.Description.Width;
        float[] identity = Unit(d);
        using var perfect = new SparseDictionary(
            new DictionaryConfig
            {
                InputWidth = d,
                OutputWidth = d,
                Features = 3,
                Rule = ActivationRule.Relu,
                IsTranscoder = true,
                HookName = "blocks.1.hook_resid_post",
                HookNameOut = "blocks.2.hook_resid_pre",
            },
            new DictionaryParameters
            {
                Encoder = new float[3 * d],
                Decoder = new float[3 * d],
                EncoderBias = new float[3],
                DecoderBias = new float[d],
                Skip = identity,
            },
            _device);
        DictionaryEvaluation evaluation = DictionaryEvaluator.Evaluate(
            _model, perfect, [_model.Tokenize("The keys near the old door are")]);
        Assert.Equal(1, evaluation.ExplainedVariance, 1e-9);
        Assert.Equal(0, evaluation.KlWithSae, 1e-9);
        Assert.Equal(evaluation.LossWithoutSae, evaluation.LossWithSae, 1e-9);
        Assert.True(evaluation.LossWithAblation > evaluation.LossWithoutSae);
        Assert.Equal(3, evaluation.Use.Dead);
    }

    [Fact]
    public void Densities_are_read_as_written()
    {
        using var folder = new TemporaryFolder();
        Assert.Null(FeatureDensities.Read(folder.Path, 3));
        double[] densities = [0, 0.25, 1];
        FeatureDensities.Write(folder.Path, densities);
        Assert.Equal(densities, FeatureDensities.Read(folder.Path, 3)!.Select(density => Math.Round(density, 6)));
        Assert.Throws<InterpEngine.Formats.InvalidFileException>(() => FeatureDensities.Read(folder.Path, 4));
    }

    private SparseDictionary Identity(int width, string point) => new(
        new DictionaryConfig { InputWidth = width, OutputWidth = width, Features = width, Rule = ActivationRule.Relu, HookName = point },
        new DictionaryParameters
        {
            Encoder = Unit(width),
            Decoder = Unit(width),
            EncoderBias = new float[width],
            DecoderBias = new float[width]
        },
        _device);

    private SparseDictionary Random(int width, int features, string? point, int layers = 1)
    {
        var random = new Random(1);
        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
        return new SparseDictionary(
            new DictionaryConfig
            {
                InputWidth = width,
                OutputWidth = width,
                Features = features,
                Rule = ActivationRule.Relu,
                HookName = point,
                Layers = layers
            },
            new DictionaryParameters
            {
                Encoder = Values(features * width),
                Decoder = Values(features * width),
                EncoderBias = Values(features),
                DecoderBias = Values(width),
            },
            _device);
    }

    private static float[] Unit(int d)
    {
        var matrix = new float[d * d];
        for (int i = 0; i < d; i++)
        {
            matrix[i * d + i] = 1;
        }

        return matrix;
    }
}
