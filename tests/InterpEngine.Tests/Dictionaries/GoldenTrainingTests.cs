using InterpEngine.Dictionaries.Training;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>
/// Twenty steps of every trainer of the goldens: parameters at their start and later, gradients before and after what is done to them, each part of
/// the loss, rates, counters, thresholds. A stored tensor that is not compared is a failure.
/// </summary>
public sealed class GoldenTrainingTests
{
    public static IEnumerable<TheoryDataRow<string, string>> CasesAndDevices() =>
        from name in Goldens.Cases("sae-training")
        from device in TestDevices.Names
        select new TheoryDataRow<string, string>(name, device) { TestDisplayName = $"{name} / {device}" };

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Twenty_steps_are_the_librarys(string name, string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        using var golden = new GoldenCase("sae-training", name);
        var reference = new GoldenTrainer(golden);
        using var trainer = new DictionaryTrainer(reference.Config, reference.Parameters("init"), reference.Options, device);
        int[] shape = golden.Shape("batches");
        float[] batches = golden.Input("batches");
        float[] targets = golden.Has("per_step.target") ? golden.Input("per_step.target") : [];
        int size = batches.Length / shape[0], targetSize = targets.Length / shape[0];
        var counters = new List<float>();
        void Count() => counters.AddRange(trainer.SinceActive.Select(count => (float)count));
        for (int step = 0; step < shape[0]; step++)
        {
            using Tensor x = device.Upload<float>(reference.Scaled(batches.AsSpan(step * size, size)), shape[1..]);
            using Tensor? y = targets.Length > 0 ? device.Upload<float>(targets.AsSpan(step * targetSize, targetSize), shape[1..]) : null;
            if (reference.CountsBefore)
            {
                Count();
            }

            string prefix = $"step{step + 1}.";
            bool gradients = golden.Names.Any(stored => stored.StartsWith($"{prefix}grad_raw.", StringComparison.Ordinal));
            if (golden.Names.Any(stored => stored.StartsWith($"{prefix}grad_autograd.", StringComparison.Ordinal)))
            {
                reference.CompareGradients($"{prefix}grad_autograd.", TrueGradients(reference, trainer, x, y));
            }

            double threshold = trainer.InferenceThreshold;
            StepTrace trace = trainer.Trace = new StepTrace();
            StepReport report = trainer.Step(x, y);
            if (!reference.CountsBefore)
            {
                Count();
            }

            if (step == 0)
            {
                reference.CompareStart(trace);
            }

            reference.CompareNumbers(step, report, trace, trainer, threshold);
            if (gradients)
            {
                reference.CompareGradients($"{prefix}grad_raw.", trace.Gradients);
                reference.CompareGradients($"{prefix}grad_final.", trace.FinalGradients);
            }

            if (step is 0 or 4 or 19)
            {
                reference.CompareParameters(prefix, trainer, step == 0 ? 3e-7 : 1.2e-5);
            }
        }

        if (reference.CountsBefore)
        {
            Count();
        }

        golden.Compare("per_step.n_forward_passes_since_fired", () => counters, 0);
        golden.Compare("per_step.num_tokens_since_fired", () => counters, 0);
        golden.Compare("act_freq_scores", () => [.. trainer.Activations.Select(count => (float)count)], 0);
        reference.CompareSaved(trainer);
        reference.CompareFolded(trainer);
        golden.AssertAllSeen();
    }

    /// <summary>The gradients of the loss itself, where the library's own backward pass leaves some out.</summary>
    private static Dictionary<string, float[]> TrueGradients(GoldenTrainer reference, DictionaryTrainer trainer, Tensor x, Tensor? y)
    {
        using var twin = new DictionaryTrainer(
            reference.Config, reference.Parameters("init"), reference.Options with { AuxiliarySparesEncoder = false }, x.Device);
        using var folder = new TemporaryFolder();
        var state = new CheckpointWriter();
        trainer.Save(state);
        state.Complete(folder["state"]);
        using (SafetensorsFile file = SafetensorsFile.Open(folder["state"]))
        {
            twin.Load(new CheckpointReader(file));
        }

        twin.Trace = new StepTrace();
        twin.Step(x, y);
        return twin.Trace.Gradients;
    }
}
