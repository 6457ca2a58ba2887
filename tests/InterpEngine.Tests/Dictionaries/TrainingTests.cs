using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Training is the same bits with any number of threads, and when it is taken up again.</summary>
public sealed class TrainingTests
{
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
        DeadWindow = 1500,
        Projection = Projection.Approximate,
        NormalizesAfter = true,
        ClipNorm = 1,
        LearningRate = new() { Rate = 3e-3, Steps = 12 },
    };

    [Fact]
    public void Threads_do_not_matter()
    {
        using Device one = Device.Cpu(1), four = Device.Cpu(4);
        Assert.Equal(Train(one, 0, 6, out _), Train(four, 0, 6, out _));
    }

    [Fact]
    public void A_resumed_run_has_the_bits_of_an_uninterrupted_one()
    {
        using Device device = Device.Cpu(2);
        using var folder = new TemporaryFolder();
        float[] whole = Train(device, 0, 12, out StepReport first);
        Train(device, 0, 5, out _, save: folder["checkpoint.safetensors"]);
        float[] resumed = Train(device, 5, 12, out StepReport second, load: folder["checkpoint.safetensors"]);
        Assert.Equal(whole, resumed);
        Assert.Equal(first, second);
        using Model other = Model.Load(Model.TalesPath, device);
        using var wrong = new DictionaryTrainer(
            s_config with { Features = 64 }, Initialization.Random(s_config with { Features = 64 }, 1), s_options, device);
        Assert.Throws<InvalidFileException>(() => TrainingCheckpoint.Load(wrong, folder["checkpoint.safetensors"]));
    }

    [Fact]
    public void The_loss_falls()
    {
        using Device device = Device.Cpu();
        Train(device, 0, 1, out StepReport first);
        Train(device, 0, 12, out StepReport last);
        Assert.True(last.ExplainedVariance > first.ExplainedVariance + 0.1, $"{first} then {last}");
    }

    [Fact]
    public void A_gpu_is_refused_by_name()
    {
        using var device = new Kernels.Gpu.GpuDevice(Kernels.Gpu.SimulatedPlatform.Create());
        Assert.Throws<DictionaryException>(() => new DictionaryTrainer(s_config, Initialization.Random(s_config, 1), s_options, device));
    }

    private static float[] Train(Device device, int from, int to, out StepReport report, string? save = null, string? load = null)
    {
        using Model model = Model.Load(Model.TalesPath, device);
        IEnumerable<int[]> texts = Texts(model);
        using var source = new ModelActivations(model, "blocks.2.hook_resid_post", texts, 7, buffer: 1024, batch: 8, excluded: [0]);
        using var trainer = new DictionaryTrainer(s_config, Initialization.Random(s_config, 3, 1), s_options, device);
        if (load is not null)
        {
            source.Skip(TrainingCheckpoint.Load(trainer, load));
            Assert.Equal(from, trainer.StepCount);
        }

        report = null!;
        for (int step = from; step < to; step++)
        {
            using Tensor x = source.Next(256);
            report = trainer.Step(x);
        }

        if (save is not null)
        {
            TrainingCheckpoint.Save(trainer, save, source.Drawn);
        }

        DictionaryParameters result = trainer.Export();
        return [.. result.Encoder, .. result.Decoder, .. result.EncoderBias, .. result.DecoderBias];
    }

    private static IEnumerable<int[]> Texts(Model model)
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
