using System.Diagnostics;
using System.Globalization;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>A process that trains is killed without warning, several times; what it leaves is the run as it was a moment before.</summary>
public sealed class KilledTrainingTests
{
    private const string FolderVariable = "INTERP_TRAINING_TO_BE_KILLED", Checkpoint = "checkpoint.safetensors", Progress = "progress.txt";
    private const int Every = 2;

    [Fact]
    public async Task A_killed_run_loses_at_most_the_steps_since_its_last_checkpoint()
    {
        using var folder = new TemporaryFolder();
        int last = 0;
        foreach (int more in (int[])[3, 4, 2])
        {
            int seen = await TrainAndKill(folder.Path, last + more);
            using var resumed = new Run();
            resumed.Training.Resume(folder[Checkpoint]);
            last = resumed.Training.StepCount;
            Assert.True(last % Every == 0 && last >= seen - Every, $"step {seen} was done; the checkpoint is of step {last}");
            using var whole = new Run();
            Assert.Equal(whole.Train(last + 2), resumed.Train(last + 2));
        }
    }

    /// <summary>The process that is killed: this test and nothing else, where a folder is named.</summary>
    [Fact(Explicit = true)]
    public void Trains_until_it_is_killed()
    {
        string folder = Environment.GetEnvironmentVariable(FolderVariable) ?? throw new InvalidOperationException($"{FolderVariable} names no folder.");
        using var run = new Run();
        if (File.Exists(Path.Combine(folder, Checkpoint)))
        {
            run.Training.Resume(Path.Combine(folder, Checkpoint));
        }

        run.Training.Run(1_000_000, Path.Combine(folder, Checkpoint), Every, (step, _) =>
            File.AppendAllText(Path.Combine(folder, Progress), step.ToString(CultureInfo.InvariantCulture) + "\n"));
    }

    /// <summary>Runs the other test in a process of its own until it has got so far.</summary>
    /// <returns>The last step that it told of.</returns>
    private static async Task<int> TrainAndKill(string folder, int step)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "InterpEngine.Tests"))
        {
            ArgumentList = { "-explicit", "only", "-method", $"{typeof(KilledTrainingTests).FullName}.{nameof(Trains_until_it_is_killed)}", "-noLogo" },
            Environment = { [FolderVariable] = folder },
            RedirectStandardOutput = true,
        };
        string progress = Path.Combine(folder, Progress);
        File.Delete(progress);
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        int Seen() => File.Exists(progress) ? File.ReadLines(progress).Select(line => int.TryParse(line, out int seen) ? seen : 0).LastOrDefault() : 0;
        try
        {
            while (Seen() < step)
            {
                Assert.False(process.HasExited, process.HasExited ? await output : "");
                await Task.Delay(5, TestContext.Current.CancellationToken);
            }
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        return Seen();
    }

    private sealed class Run : IDisposable
    {
        private static readonly DictionaryConfig s_config =
            new() { InputWidth = 128, OutputWidth = 128, Features = 256, Rule = new(ActivationKind.TopK, 4), CentersInput = true };

        private readonly Device _device = Device.Cpu(1);
        private readonly Model _model;
        private readonly ShuffledActivations _source;
        private readonly DictionaryTrainer _trainer;

        public Run()
        {
            _model = Model.Load(Model.TalesPath, _device);
            _source = new ShuffledActivations(
                new ModelActivations(_model, "blocks.0.hook_resid_post", TrainingTexts.Endless(_model), 8), _device, 3, 512);
            _trainer = new DictionaryTrainer(
                s_config, Initialization.Random(s_config, 1), new() { ClipNorm = 1, LearningRate = new() { Rate = 1e-3 } }, _device);
            Training = new DictionaryTraining(_source, 128, _trainer);
        }

        public DictionaryTraining Training { get; }

        public float[] Train(int steps)
        {
            Training.Run(steps);
            DictionaryParameters result = _trainer.Export();
            return [.. result.Encoder, .. result.Decoder, .. result.EncoderBias, .. result.DecoderBias];
        }

        public void Dispose()
        {
            _source.Dispose();
            _trainer.Dispose();
            _model.Dispose();
            _device.Dispose();
        }
    }
}
