using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Training goes on from a dictionary of any format that is read.</summary>
public sealed class WarmStartTests
{
    private const int Rows = 24;

    public static IEnumerable<TheoryDataRow<string>> Cases() =>
        from name in Goldens.Cases("sae")
        where !File.Exists(Path.Combine(Goldens.Folder("sae", name), "config.yaml")) && !name.Contains("decoupled", StringComparison.Ordinal)
        select new TheoryDataRow<string>(name) { TestDisplayName = name };

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_dictionary_starts_as_its_file_has_it_and_learns(string name)
    {
        string path = Goldens.Folder("sae", name), training = Path.Combine(path, "training");
        (DictionaryConfig config, DictionaryParameters start) = Initialization.FromFile(Directory.Exists(training) ? training : path);
        using Device device = Device.Cpu(1);
        using Tensor x = Random(device, Rows, config.InputWidth, 1);
        using Tensor? y = config.IsTranscoder || config.OutputWidth != config.InputWidth ? Random(device, Rows, config.OutputWidth, 2) : null;

        // With a rate of 0 nothing moves.
        using (var still = new DictionaryTrainer(config, start, new() { LearningRate = new() { Rate = 0 } }, device))
        {
            still.Step(x, y);
            DictionaryParameters same = still.Export();
            Assert.Equal(start.Encoder, same.Encoder);
            Assert.Equal(start.Decoder, same.Decoder);
            Assert.Equal(start.EncoderBias, same.EncoderBias);
            Assert.Equal(start.DecoderBias, same.DecoderBias);
            Assert.Equal(start.Threshold, same.Threshold);
            Assert.Equal(start.Skip, same.Skip);
        }

        using var trainer = new DictionaryTrainer(config, start, new() { LearningRate = new() { Rate = 2e-3 } }, device);
        double first = trainer.Step(x, y).Loss, last = first;
        for (int step = 0; step < 15; step++)
        {
            last = trainer.Step(x, y).Loss;
        }

        Assert.True(last < first, $"{first} became {last}");
        using var trained = new SparseDictionary(config, trainer.Export(), device);
        using Tensor reconstruction = trained.Reconstruct(x);
        Assert.All(reconstruction.ToArray<float>(), value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void Another_rule_gets_what_it_lacks()
    {
        using Device device = Device.Cpu(1);
        string gated = Goldens.Folder("sae", "saelens-gated");
        if (!Directory.Exists(gated))
        {
            return;
        }

        foreach (ActivationRule rule in (ActivationRule[])[new(ActivationKind.TopK, 4), ActivationRule.JumpRelu, new(ActivationKind.MatchingPursuit) { MaxIterations = 3 }])
        {
            (DictionaryConfig config, DictionaryParameters start) = Initialization.FromFile(gated, rule);
            using Tensor x = Random(device, Rows, config.InputWidth, 1);
            using var trainer = new DictionaryTrainer(config, start, new(), device);
            Assert.True(double.IsFinite(trainer.Step(x).Loss));
        }

        // A gate's magnitudes are the products of the ungated encoder.
        (DictionaryConfig relu, DictionaryParameters parameters) = Initialization.FromFile(gated, ActivationRule.Relu);
        using var with = SparseDictionary.Load(gated, device);
        using var without = new SparseDictionary(relu, parameters, device);
        using Tensor rows = Random(device, Rows, relu.InputWidth, 3);
        using Encoding a = with.Encode(rows), b = without.Encode(rows);
        float[] plain = b.Features.ToDense(), gate = a.Features.ToDense();
        Assert.All(Enumerable.Range(0, gate.Length).Where(i => gate[i] > 0), i => Assert.Equal(gate[i], plain[i], 1e-5 * Math.Max(1, gate[i])));
    }

    private static Tensor Random(Device device, int rows, int width, int seed)
    {
        var random = new Random(seed);
        return device.Upload<float>([.. Enumerable.Range(0, rows * width).Select(_ => 2 * random.NextSingle() - 1)], rows, width);
    }
}
