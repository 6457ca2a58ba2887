using InterpEngine.Dictionaries;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Dictionaries in the middle of a model, on every backend.</summary>
public sealed class SpliceTests
{
    private const string Point = "blocks.1.hook_resid_pre";
    private static readonly TokenBatch s_tokens = TokenBatch.LeftPadded([[3, 1, 4, 1, 5, 9], [2, 6, 5]]);

    public static IEnumerable<TheoryDataRow<string>> Devices() => TestDevices.Names.Select(name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(Devices))]
    public void With_the_error_kept_and_nothing_edited_nothing_changes(string name)
    {
        using Device device = TestDevices.Open(name);
        using Model model = Open(device);
        using SparseDictionary dictionary = Random(model, 64);
        Assert.Equal(Logits(model), Logits(model, new Splice(dictionary) { ReadsAt = Point, KeepsError = true }));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void The_run_goes_on_with_the_reconstruction(string name)
    {
        using Device device = TestDevices.Open(name);
        using Model model = Open(device);
        using SparseDictionary dictionary = Random(model, 64);
        using RunResult clean = model.Run(s_tokens, new RunOptions { Capture = Point });
        using Tensor expected = dictionary.Reconstruct(clean.Cache[Point]);
        using RunResult run = model.Run(s_tokens, [new Splice(dictionary) { ReadsAt = Point }], new RunOptions { Capture = Point });
        Assert.Equal(expected.ToArray<float>(), run.Cache[Point].ToArray<float>());
        Assert.NotEqual(clean.Logits!.ToArray<float>(), run.Logits!.ToArray<float>());
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Edits_move_the_value_along_their_features(string name)
    {
        using Device device = TestDevices.Open(name);
        using Model model = Open(device);
        using SparseDictionary dictionary = Random(model, 64);
        using RunResult clean = model.Run(s_tokens, new RunOptions { Capture = Point });
        float[] x = clean.Cache[Point].ToArray<float>(), decoder = dictionary.Parameters.Decoder;
        using Encoding encoding = dictionary.Encode(clean.Cache[Point]);
        float[] activations = encoding.Features.ToDense();
        int active = Enumerable.Range(0, 64).First(f => Enumerable.Range(0, encoding.Features.Rows).Any(row => activations[row * 64 + f] > 0));
        foreach ((FeatureEdit edit, Func<float, float> becomes) in ((FeatureEdit, Func<float, float>)[])
        [
            (FeatureEdit.Zero(active), _ => 0), (FeatureEdit.Scale(active, -2.5f), z => -2.5f * z), (FeatureEdit.Clamp(7, 1.5f), _ => 1.5f),
        ])
        {
            var splice = new Splice(dictionary) { ReadsAt = Point, KeepsError = true, Edits = [edit] };
            using RunResult run = model.Run(s_tokens, [splice], new RunOptions { Capture = Point });
            float[] changed = run.Cache[Point].ToArray<float>();
            int d = dictionary.Config.InputWidth;
            for (int i = 0; i < x.Length; i++)
            {
                float z = activations[i / d * 64 + edit.Feature];
                float expected = x[i] + (becomes(z) - z) * decoder[edit.Feature * d + i % d];
                Assert.Equal(expected, changed[i], 1e-4f * (1 + Math.Abs(expected)));
            }
        }
    }

    [Fact]
    public void Untouched_positions_stay_as_they_are()
    {
        using Device device = Device.Reference();
        using Model model = Open(device);
        using SparseDictionary dictionary = Random(model, 64);
        bool[] untouched = [.. Enumerable.Range(0, 12).Select(i => i % 3 == 0)];
        using RunResult clean = model.Run(s_tokens, new RunOptions { Capture = Point });
        using RunResult run = model.Run(
            s_tokens, [new Splice(dictionary) { ReadsAt = Point, Untouched = untouched }], new RunOptions { Capture = Point });
        float[] before = clean.Cache[Point].ToArray<float>(), after = run.Cache[Point].ToArray<float>();
        int d = dictionary.Config.InputWidth;
        Assert.All(untouched.Index(), at =>
            Assert.Equal(at.Item, before.AsSpan(at.Index * d, d).SequenceEqual(after.AsSpan(at.Index * d, d))));
    }

    [Fact]
    public void Several_dictionaries_work_at_once_a_transcoder_among_them()
    {
        using Device device = Device.Reference();
        using Model model = Open(device);
        using SparseDictionary first = Random(model, 64), second = Random(model, 32), transcoder = Random(model, 48, transcoder: true);
        const string read = "blocks.0.ln2.hook_normalized", write = "blocks.0.hook_mlp_out";
        Splice[] splices =
        [
            new(first) { ReadsAt = Point }, new(second) { ReadsAt = "blocks.1.attn.hook_z" }, new(transcoder) { ReadsAt = read, WritesAt = write },
        ];
        using RunResult run = model.Run(s_tokens, splices, new RunOptions { Capture = (HookSelection)(string[])[read, write] });
        using Tensor expected = transcoder.Reconstruct(run.Cache[read]);
        Assert.Equal(expected.ToArray<float>(), run.Cache[write].ToArray<float>());
        HashSet<string> seen = [.. splices.Select((_, i) => string.Join(' ', Logits(model, [.. splices.Where((_, j) => i != j)])))];
        seen.Add(string.Join(' ', run.Logits!.ToArray<float>()));
        Assert.Equal(4, seen.Count);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using Device device = Device.Reference();
        using Model model = Open(device);
        using SparseDictionary dictionary = Random(model, 64), transcoder = Random(model, 8, transcoder: true);
        Refused("do not say which hook point", new Splice(dictionary));
        Refused("which hook point it writes", new Splice(transcoder) { ReadsAt = Point });
        Refused("no feature 64", new Splice(dictionary) { ReadsAt = Point, Edits = [FeatureEdit.Zero(64)] });
        Refused("expected one for each of 12", new Splice(dictionary) { ReadsAt = Point, Untouched = [true] });
        Refused("cannot read", new Splice(dictionary) { ReadsAt = "blocks.0.mlp.hook_post" });
        Refused("comes before", new Splice(transcoder) { ReadsAt = "blocks.1.ln2.hook_normalized", WritesAt = "blocks.0.hook_mlp_out" });
        Assert.Throws<HookException>(() => Logits(model, new Splice(dictionary) { ReadsAt = "blocks.9.hook_resid_pre" }));

        void Refused(string why, Splice splice) =>
            Assert.Contains(why, Assert.Throws<DictionaryException>(() => Logits(model, splice)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_features_that_write_most_alike_are_found()
    {
        using Device device = Device.Cpu();
        float[] decoder = [1, 0, 0, 0.9f, 0.1f, 0, 0, 0, 2, -1, 0, 0.1f];
        using var dictionary = new SparseDictionary(
            new DictionaryConfig { InputWidth = 3, OutputWidth = 3, Features = 4, Rule = ActivationRule.Relu },
            new DictionaryParameters { Encoder = decoder, Decoder = decoder, EncoderBias = new float[4], DecoderBias = new float[3] },
            device);
        IReadOnlyList<(int Feature, float Cosine)[]> nearest = FeatureWeights.Nearest(dictionary, 9);
        Assert.Equal((int[])[1, 2, 3], nearest[0].Select(other => other.Feature));
        Assert.Equal((int[])[3, 0, 1], nearest[2].Select(other => other.Feature));
        Assert.Equal(0.9939f, nearest[0][0].Cosine, 1e-3f);
        Assert.Equal(Enumerable.Repeat(1f, 4), FeatureWeights.EncoderDecoderCosines(dictionary.Parameters).Select(cosine => MathF.Round(cosine, 5)));
    }

    [Fact]
    public void Densities_are_counted_by_token_and_prompt()
    {
        using Device device = Device.Reference();
        var use = new FeatureUse(3);
        using SparseRows rows = SparseRowsEditing.Upload(device, 3, [0, 1, 3, 3, 4], [0, 0, 1, 0], [1, 3, 5, 2]);
        use.Add(rows, 2);
        Assert.Equal((double[])[0.75, 0.25, 0], use.Density);
        Assert.Equal((double[])[1.5, 1, double.NaN], use.ActivationsPerPrompt);
        Assert.Equal((double[])[2, 5, double.NaN], use.MeanActivation);
        Assert.Equal(1, use.Dead);
        Assert.Equal((int[])[0, 1, 0, 1], use.DensityHistogram(bins: 4, lowest: -1));
        Assert.Equal((int[])[1, 1], use.DensityHistogram(bins: 2, lowest: -0.5));
    }

    private static Model Open(Device device) => Model.Load(Goldens.Folder("models", "gpt2"), device);

    private static float[] Logits(Model model, params Splice[] splices)
    {
        using RunResult run = model.Run(s_tokens, splices);
        return run.Logits!.ToArray<float>();
    }

    private static SparseDictionary Random(Model model, int features, bool transcoder = false)
    {
        int d = model.Description.Width;
        var random = new Random(features);
        return new SparseDictionary(
            new DictionaryConfig
            {
                InputWidth = d,
                OutputWidth = d,
                Features = features,
                Rule = new ActivationRule(ActivationKind.TopK, 5),
                IsTranscoder = transcoder,
            },
            new DictionaryParameters
            {
                Encoder = Values(features * d),
                Decoder = Values(features * d),
                EncoderBias = Values(features),
                DecoderBias = Values(d),
            },
            model.Device);

        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }
}
