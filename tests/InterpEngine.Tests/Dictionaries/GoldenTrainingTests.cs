using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Twenty steps of every trainer of the goldens: parameters, gradients' norms, losses, rates, counters, thresholds.</summary>
public sealed class GoldenTrainingTests
{
    private static readonly string[] s_devices = ["reference", "cpu"];

    public static IEnumerable<TheoryDataRow<string, string>> CasesAndDevices() =>
        from name in Goldens.Cases("sae-training")
        from device in s_devices
        select new TheoryDataRow<string, string>(name, device) { TestDisplayName = $"{name} / {device}" };

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Twenty_steps_are_the_librarys(string name, string deviceName)
    {
        using Device device = deviceName == "cpu" ? Device.Cpu(2) : Device.Reference();
        using var golden = new GoldenCase("sae-training", name);
        var reference = new GoldenTrainer(golden);
        using var trainer = new DictionaryTrainer(reference.Config, reference.Parameters("init"), reference.Options, device);
        int[] shape = golden.Shape("batches");
        float[] batches = golden.Input("batches");
        float[] targets = golden.Has("per_step.target") ? golden.Input("per_step.target") : [];
        int size = batches.Length / shape[0];
        var counters = new List<float>();
        for (int step = 0; step < shape[0]; step++)
        {
            using Tensor x = device.Upload<float>(reference.Scaled(batches.AsSpan(step * size, size)), shape[1..]);
            int targetSize = targets.Length / shape[0];
            using Tensor? y = targets.Length > 0 ? device.Upload<float>(targets.AsSpan(step * targetSize, targetSize), shape[1..]) : null;
            if (reference.CountsBefore)
            {
                counters.AddRange(trainer.SinceActive.Select(count => (float)count));
            }

            StepReport report = trainer.Step(x, y);
            if (!reference.CountsBefore)
            {
                counters.AddRange(trainer.SinceActive.Select(count => (float)count));
            }

            reference.Compare("loss", step, report.Loss, 2e-5);
            reference.Compare("lr", step, report.LearningRate, 1e-9);
            reference.Compare("grad_norm", step, report.GradientNorm, 1e-4);
            reference.Compare("l0", step, report.L0, 1e-9);
            reference.Compare("dead_before", step, report.Dead, 0);
            reference.Compare("threshold", step, trainer.InferenceThreshold, 1e-5);
            reference.Compare("topk_threshold", step, trainer.InferenceThreshold, 1e-5);
            if (step is 0 or 4 or 19)
            {
                reference.CompareParameters($"step{step + 1}.", trainer, step == 0 ? 3e-7 : 1.2e-5);
            }
        }

        counters.AddRange(reference.CountsBefore ? trainer.SinceActive.Select(count => (float)count) : []);
        golden.Compare("per_step.n_forward_passes_since_fired", () => counters, 0);
        golden.Compare("per_step.num_tokens_since_fired", () => counters, 0);
        reference.CompareSaved(trainer);
        reference.CompareFolded(trainer);
    }
}
