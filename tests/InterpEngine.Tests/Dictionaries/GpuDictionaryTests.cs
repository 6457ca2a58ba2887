using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>
/// Dictionaries through the GPU's kernels on ILGPU's simulator: one golden of each way to choose features, and runs that are resumed. A
/// machine with a GPU runs all goldens through them.
/// </summary>
public sealed class GpuDictionaryTests
{
    public static TheoryData<string> Used => ["saelens-batchtopk", "saelens-gated", "saelens-jumprelu", "saelens-topk-rescaled", "sparsify-groupmax"];

    public static TheoryData<string> Trained =>
        ["saelens-batchtopk", "saelens-jumprelu-step", "saelens-gated", "saelens-matching-pursuit", "sparsify-topk-signum", "crosscoder-batchtopk"];

    [Theory]
    [MemberData(nameof(Used))]
    public void Every_tensor_is_the_true_one(string name) => new GoldenDictionaryTests().Every_tensor_is_the_true_one(name, TestDevices.Simulated);

    [Theory]
    [MemberData(nameof(Trained))]
    public void Twenty_steps_are_the_librarys(string name) => new GoldenTrainingTests().Twenty_steps_are_the_librarys(name, TestDevices.Simulated);

    [Fact]
    public void A_resumed_run_has_the_same_bits()
    {
        using var folder = new TemporaryFolder();
        using Device device = TestDevices.Open(TestDevices.Simulated);
        var config = new DictionaryConfig
        {
            InputWidth = 12,
            OutputWidth = 12,
            Features = 40,
            Rule = new(ActivationKind.TopK, 3),
            CentersInput = true,
            Normalization = InputNormalization.LayerNorm,
        };
        var options = new TrainingOptions
        {
            Auxiliary = AuxiliaryLoss.Signed,
            AuxiliaryCoefficient = 1,
            DeadWindow = 2,
            Start = Start.GeometricMedian,
            ClipNorm = 1,
            Resampling = new() { Every = 4, Phase = 3, DeadWindow = 1 },
            BFloat16 = true,
        };
        DictionaryTrainer New() => new(config, Initialization.Random(config, 1), options, device);
        void Train(DictionaryTrainer trainer, int from, int to)
        {
            for (int step = from; step < to; step++)
            {
                var random = new Random(step);
                float[] rows = [.. Enumerable.Range(0, 20 * 12).Select(_ => random.NextSingle() * 2 - 1)];
                using Tensor x = device.Upload<float>(rows, 20, 12);
                trainer.Step(x);
            }
        }

        using DictionaryTrainer whole = New(), first = New(), rest = New();
        Train(whole, 0, 9);
        Train(first, 0, 5);
        using var none = new NoRows();
        TrainingCheckpoint.Save(folder["checkpoint"], none, first);
        TrainingCheckpoint.Load(folder["checkpoint"], none, rest);
        Train(rest, 5, 9);
        Assert.Equal(whole.Export().Encoder, rest.Export().Encoder);
        Assert.Equal(whole.Export().Decoder, rest.Export().Decoder);
        Assert.NotEqual(whole.Export().Decoder, first.Export().Decoder);
    }

    private sealed class NoRows : IActivationSource
    {
        public int Width => 12;

        public int TargetWidth => 0;

        public (Tensor Rows, Tensor? Targets) NextPair(int count) => throw new NotSupportedException();

        public void Save(CheckpointWriter state)
        {
        }

        public void Load(CheckpointReader state)
        {
        }

        public void Dispose()
        {
        }
    }
}
