using System.Globalization;
using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>TransformerLens's weight processing: every weight of goldens/circuits/analytics, and that no probability changes.</summary>
public sealed class WeightProcessingTests(ITestOutputHelper output)
{
    public static TheoryData<string> Cases =>
        [.. Goldens.Cases(Path.Combine("circuits", "analytics")).Where(name => IsKnown("circuits", "models", name))];

    public static TheoryData<string> Models => [.. Goldens.Cases("models").Where(name => IsKnown("models", name))];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_step_gives_the_true_weights(string name)
    {
        string folder = Goldens.Folder("circuits", "models", name);
        using Device device = Device.Cpu(threads: 1);
        using SafetensorsFile golden = SafetensorsFile.Open(Goldens.Folder("circuits", "analytics", name, "golden.safetensors"));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("circuits", "analytics", name, "golden.json")));
        using Model raw = Model.Load(folder, device);
        var done = WeightProcessing.None;
        int compared = 0;
        foreach (JsonElement entry in json.RootElement.GetProperty("processing").EnumerateArray())
        {
            string step = entry.GetProperty("step").GetString()!;
            WeightProcessing flag = WeightProcessingSteps.All.Single(known => known.Name == step).Step;
            if (WeightProcessingSteps.WhyNot(raw.Description, flag) is not null)
            {
                Assert.Equal(0, entry.GetProperty("changed").GetArrayLength());
                var options = new LoadOptions { Processing = done | flag };
                Assert.Contains(step, Assert.Throws<ModelException>(() => Model.Load(folder, device, options)).Message, StringComparison.Ordinal);
                continue;
            }

            done |= flag;
            using Model model = Model.Load(folder, device, new LoadOptions { Processing = done });
            SameProbabilities(raw, model, bound: 2e-5);
            string prefix = $"processed.{step}.";
            foreach ((string tensor, SafetensorsEntry truth) in golden.Tensors.Where(t => t.Key.StartsWith(prefix, StringComparison.Ordinal)))
            {
                Compare(tensor, truth.ToSingles(), NamedWeights.Read(model, tensor[prefix.Length..]));
                compared++;
            }
        }

        Assert.Equal(compared, golden.Tensors.Keys.Count(key => WeightProcessingSteps.All.Any(
            step => key.StartsWith($"processed.{step.Name}.", StringComparison.Ordinal))));
        output.WriteLine($"{name}: {compared} tensors, steps {done}");
    }

    [Fact]
    public void A_step_that_a_model_does_not_allow_is_refused_with_the_reason()
    {
        using Device device = Device.Cpu(threads: 1);
        var error = Assert.Throws<ModelException>(() => Model.Load(
            Goldens.Folder("models", "llama"), device, new LoadOptions { Processing = WeightProcessing.CenterWritingWeights }));
        Assert.Contains("center_writing_weights: an RMS norm does not centre", error.Message, StringComparison.Ordinal);
        Assert.NotNull(error.Hint);
    }

    /// <summary>Each step that a model allows, alone and all together.</summary>
    [Theory]
    [MemberData(nameof(Models))]
    public void No_step_changes_a_probability(string name)
    {
        string folder = Goldens.Folder("models", name);
        using Device device = Device.Cpu(threads: 1);
        using Model raw = Model.Load(folder, device);
        WeightProcessing all = WeightProcessing.None;
        foreach ((string step, WeightProcessing flag) in WeightProcessingSteps.All)
        {
            if (WeightProcessingSteps.WhyNot(raw.Description, flag) is { } reason)
            {
                output.WriteLine($"{step}: {reason}");
                continue;
            }

            all |= flag;
            using Model model = Model.Load(folder, device, new LoadOptions { Processing = flag });
            SameProbabilities(raw, model, bound: 1e-4);
        }

        using Model processed = Model.Load(folder, device, new LoadOptions { Processing = all });
        SameProbabilities(raw, processed, bound: 1e-4);
        Assert.Equal(all & ~WeightProcessing.RefactorFactoredAttention, WeightProcessingSteps.Default(raw.Description));
    }

    private static bool IsKnown(params string[] folder) =>
        ModelFamilies.Names.Contains(ConfigFile.Load(Path.Combine(Goldens.Folder(folder), "config.json")).String("model_type"));

    private static void SameProbabilities(Model raw, Model processed, double bound)
    {
        int vocabulary = raw.Description.Vocabulary;
        int[] ids = [.. Enumerable.Range(0, 9).Select(i => (i * 37 + 5) % vocabulary)];
        float[] truth = LogProbabilities(raw, ids), values = LogProbabilities(processed, ids);
        double largest = truth.Max(MathF.Abs);
        for (int i = 0; i < truth.Length; i++)
        {
            Assert.Equal(truth[i], values[i], bound * (1 + largest));
        }
    }

    private static float[] LogProbabilities(Model model, int[] ids)
    {
        using RunResult run = model.Run(TokenBatch.Single(ids));
        model.Device.Run(new LogSoftmax { X = run.Logits!, Out = run.Logits! });
        return run.Logits!.ToArray<float>();
    }

    private static void Compare(string name, float[] truth, double[] values)
    {
        Assert.Equal(truth.Length, values.Length);
        double bound = 1e-6 + 1e-6 * truth.Max(MathF.Abs);
        for (int i = 0; i < truth.Length; i++)
        {
            Assert.True(Math.Abs(truth[i] - values[i]) <= bound, string.Create(
                CultureInfo.InvariantCulture, $"{name}: element {i} is {values[i]}, not {truth[i]} within {bound}"));
        }
    }
}
