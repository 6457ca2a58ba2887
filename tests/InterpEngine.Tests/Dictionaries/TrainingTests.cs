using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>
/// Training is the same bits with any number of threads, with or without overlap, alone or with others, and when it is taken up again.
/// </summary>
public sealed class TrainingTests
{
    private const int Rows = 256;

    private static readonly DictionaryConfig s_config = new()
    {
        InputWidth = 128,
        OutputWidth = 128,
        Features = 192,
        Rule = new(ActivationKind.TopK, 4),
        CentersInput = true,
    };

    private static readonly TrainingOptions s_options = new()
    {
        Auxiliary = AuxiliaryLoss.ResidualVariance,
        AuxiliaryCoefficient = 1.0 / 32,
        DeadCount = DeadCount.RowsAfter,
        DeadWindow = 700,
        Projection = Projection.Approximate,
        NormalizesAfter = true,
        ClipNorm = 1,
        LearningRate = new() { Rate = 3e-3, Steps = 12 },
    };

    /// <summary>Everything that a run may have to remember.</summary>
    private static readonly (string Name, DictionaryConfig Config, TrainingOptions Options)[] s_runs =
    [
        ("topk", s_config, s_options with { Resampling = new() { Rule = ResamplingRule.Anthropic, Every = 3, Phase = 2, DeadWindow = 300 } }),
        ("topk in BF16", s_config, s_options with { BFloat16 = true }),
        ("batch topk", s_config with { Rule = new(ActivationKind.BatchTopK, 3.5), ScalesByDecoderNorm = true }, s_options with
        {
            ThresholdAverage = ThresholdAverage.FromFirst, ThresholdStart = 1, InitialK = 9, KAnnealingSteps = 8,
        }),
        ("matryoshka", s_config with { Rule = new(ActivationKind.BatchTopK, 4), Levels = [48, 192] }, s_options),
        ("annealed p", s_config with { Rule = ActivationRule.Relu }, s_options with
        {
            Auxiliary = AuxiliaryLoss.None, Sparsity = SparsityLoss.Power, SparsityCoefficient = 0.01, Annealing = new(1, 0.5, 4, 2, 9, 3),
        }),
        ("jump", s_config with { Rule = ActivationRule.JumpRelu }, s_options with
        {
            Auxiliary = AuxiliaryLoss.None, Sparsity = SparsityLoss.Count, SparsityCoefficient = 0.01, SparsityWarmup = 5,
        }),
        ("signs", s_config with { Normalization = InputNormalization.LayerNorm }, s_options with
        {
            Optimizer = OptimizerKind.ScheduleFreeSign, LearningRate = new() { Rate = 1e-3 },
        }),
    ];

    public static IEnumerable<TheoryDataRow<string>> Runs() => s_runs.Select(run => new TheoryDataRow<string>(run.Name));

    [Theory]
    [MemberData(nameof(Runs))]
    public void Threads_overlap_and_company_do_not_matter(string name)
    {
        using Device one = Device.Cpu(1), two = Device.Cpu(2), four = Device.Cpu(4);
        using var alone = new Run(one, overlaps: false, name);
        float[] expected = alone.Train(6);
        using var overlapped = new Run(two, overlaps: true, name);
        Assert.Equal(expected, overlapped.Train(6));
        using var together = new Run(four, overlaps: true, "topk", name);
        Assert.Equal(expected, together.Train(6));
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void A_resumed_run_has_the_bits_of_an_uninterrupted_one_and_harvests_no_row_twice(string name)
    {
        using Device device = Device.Cpu(2);
        using var folder = new TemporaryFolder();
        string path = folder["checkpoint.safetensors"];
        using var whole = new Run(device, overlaps: true, name, "topk");
        float[] expected = whole.Train(12);
        using (var first = new Run(device, overlaps: true, name, "topk"))
        {
            first.Train(5);
            first.Training.Save(path);
        }

        using var second = new Run(device, overlaps: false, name, "topk");
        second.Training.Resume(path);
        Assert.Equal(5, second.Training.StepCount);
        Assert.Equal(expected, second.Train(12));
        Assert.Equal(whole.Reports, second.Reports);

        // A block is harvested where the buffer has less than it may hold, so that one block more than was drawn is the most.
        Assert.InRange(second.Harvested, 1, 7 * Rows + Run.BlockRows);
    }

    [Fact]
    public void Checkpoints_of_other_runs_are_refused_by_name()
    {
        using Device device = Device.Cpu(1);
        using var folder = new TemporaryFolder();
        string path = folder["checkpoint.safetensors"];
        using var run = new Run(device, overlaps: false, "topk");
        run.Train(1);
        run.Training.Save(path);
        foreach (string[] other in (string[][])[["jump"], ["topk", "topk"], ["annealed p"]])
        {
            using var wrong = new Run(device, overlaps: false, other);
            Assert.Throws<InvalidFileException>(() => wrong.Training.Resume(path));
        }

        using (var writer = new SafetensorsWriter(folder["other"], []))
        {
            writer.Complete();
        }

        Assert.Throws<InvalidFileException>(() => run.Training.Resume(folder["other"]));
        File.WriteAllBytes(folder["cut"], File.ReadAllBytes(path)[..^100]);
        Assert.Throws<InvalidFileException>(() => run.Training.Resume(folder["cut"]));
    }

    [Fact]
    public void The_loss_falls()
    {
        using Device device = Device.Cpu();
        using var run = new Run(device, overlaps: true, "topk in BF16");
        run.Train(12);
        Assert.True(run.Reports[^1].ExplainedVariance > run.Reports[0].ExplainedVariance + 0.1, $"{run.Reports[0]} then {run.Reports[^1]}");
    }

    [Fact]
    public void Texts_that_end_too_early_end_the_run_with_advice()
    {
        using Device device = Device.Cpu(1);
        using Model model = Model.Load(Model.TalesPath, device);
        using var source = new ShuffledActivations(
            new ModelActivations(model, "blocks.2.hook_resid_post", TrainingTexts.Endless(model).Take(3)), device, 1, 512);
        using var trainer = new DictionaryTrainer(s_config, Initialization.Random(s_config, 1), s_options, device);
        var training = new DictionaryTraining(source, Rows, trainer);
        Assert.NotNull(Assert.Throws<DictionaryException>(() => training.Run(2)).Hint);
    }

    [Fact]
    public void What_a_source_throws_reaches_the_run()
    {
        using Device device = Device.Cpu(1);
        using Model model = Model.Load(Model.TalesPath, device);
        IEnumerable<int[]> Broken()
        {
            yield return [1, 2, 3];
            throw new InvalidFileException("text.txt", "is broken");
        }

        using var source = new ShuffledActivations(new ModelActivations(model, "blocks.2.hook_resid_post", Broken(), batch: 1), device, 1, 512);
        Assert.Throws<InvalidFileException>(() => ((IActivationSource)source).Next(1));
    }

    /// <summary>Dictionaries of the named runs, trained together on what Tales computes.</summary>
    private sealed class Run : IDisposable
    {
        /// <summary>Rows that a block has at most: 8 texts of up to 32 tokens.</summary>
        public const int BlockRows = 8 * 32;

        private readonly Model _model;
        private readonly CountedStream _stream;
        private readonly ShuffledActivations _source;

        public Run(Device device, bool overlaps, params string[] names)
        {
            _model = Model.Load(Model.TalesPath, device);
            _stream = new CountedStream(new ModelActivations(_model, "blocks.2.hook_resid_post", TrainingTexts.Endless(_model), 8, excluded: [0]));
            _source = new ShuffledActivations(_stream, device, 7, 1024, overlaps);
            Training = new DictionaryTraining(_source, Rows, [.. names.Select(name =>
            {
                (_, DictionaryConfig config, TrainingOptions options) = s_runs.Single(run => run.Name == name);
                return new DictionaryTrainer(config, Initialization.Random(config, 3, 1), options, device);
            })]);
        }

        public DictionaryTraining Training { get; }

        /// <summary>Of the last dictionary.</summary>
        public List<StepReport> Reports { get; } = [];

        public long Harvested => _stream.Rows;

        /// <summary>The last dictionary after so many steps.</summary>
        public float[] Train(int steps)
        {
            Training.Run(steps, progress: (_, reports) => Reports.Add(reports[^1]));
            Reports.RemoveRange(0, Math.Max(0, Reports.Count - 7));
            DictionaryParameters result = Training.Trainers[^1].Export();
            return [.. result.Encoder, .. result.Decoder, .. result.EncoderBias, .. result.DecoderBias, .. result.Threshold ?? []];
        }

        public void Dispose()
        {
            _source.Dispose();
            foreach (DictionaryTrainer trainer in Training.Trainers)
            {
                trainer.Dispose();
            }

            _model.Dispose();
        }
    }

    private sealed class CountedStream(IRowStream stream) : IRowStream
    {
        public long Rows { get; private set; }

        public int Width => stream.Width;

        public int TargetWidth => stream.TargetWidth;

        public RowBlock? Next(CancellationToken cancellation)
        {
            RowBlock? block = stream.Next(cancellation);
            Rows += block?.Count ?? 0;
            return block;
        }

        public void Seek(long blocks) => stream.Seek(blocks);

        public void Dispose() => stream.Dispose();
    }
}

/// <summary>Texts to train on.</summary>
internal static class TrainingTexts
{
    public static IEnumerable<int[]> Endless(Model model)
    {
        var random = new Random(11);
        string[] names = ["Mary", "John", "Henry", "Ruth", "Hugo"], places = ["park", "beach", "garden"], things = ["ball", "coin", "key"];
        while (true)
        {
            string text = $"When {names[random.Next(5)]} and {names[random.Next(5)]} went to the {places[random.Next(3)]}, "
                + $"{names[random.Next(5)]} gave the {things[random.Next(3)]} to {names[random.Next(5)]}";
            yield return model.Tokenize(text).Ids.ToArray();
        }
    }
}
