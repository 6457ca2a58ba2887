using System.Globalization;
using System.Text.Json;
using InterpEngine.Circuits;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Circuits;

/// <summary>
/// Attributions and lens of goldens/circuits/analytics, on the weights as they are and processed. Attributions are compared with the
/// processed variant in both, whose folded weights put the final gain into the direction, as ours do.
/// </summary>
public sealed class GoldenAnalyticsTests(ITestOutputHelper output)
{
    public static MatrixTheoryData<string, string> Cases => new(Goldens.Cases(Path.Combine("circuits", "analytics")), ["raw", "processed"]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Attributions_and_lens_are_the_true_ones(string name, string variant)
    {
        string folder = Goldens.Folder("circuits", "models", name);
        using Device device = Device.Cpu(threads: 1);
        if (!ModelFamilies.Names.Contains(ConfigFile.Load(Path.Combine(folder, "config.json")).String("model_type")))
        {
            ModelException refused = Assert.Throws<ModelException>(() => Model.Load(folder, device));
            output.WriteLine($"{name}: refused: {refused.Message}");
            return;
        }

        bool processed = variant == "processed";
        WeightProcessing steps = processed ? WeightProcessingSteps.Default(Model.ReadDescription(folder)) : WeightProcessing.None;
        using Model model = Model.Load(folder, device, new LoadOptions { Processing = steps });
        using SafetensorsFile golden = SafetensorsFile.Open(Goldens.Folder("circuits", "analytics", name, "golden.safetensors"));
        byte[] description = File.ReadAllBytes(Goldens.Folder("circuits", "analytics", name, "golden.json"));
        using JsonDocument json = JsonDocument.Parse(description);
        IEnumerable<JsonElement> streams = json.RootElement.GetProperty("accumulated_labels").EnumerateArray();
        int[] Integers(string tensor) => [.. golden.Tensors[tensor].ToIntegers().Select(value => (int)value)];
        int[] tokens = Integers("tokens"), answers = Integers("answer"), wrong = Integers("wrong");
        int length = tokens.Length / answers.Length, batch = answers.Length;
        HookPoint[] points = [.. streams.Select(label => PointOf(label.GetString()!, model.Description.Layers))];
        using RunResult run = model.Run(
            TokenBatch.Rectangle(tokens, batch, length),
            new RunOptions { Capture = [.. DirectLogitAttribution.Points(model), .. HookSelection.FromPoints(points)] });
        var (components, heads, neurons) = (new List<double[]>(), new List<double[]>(), new List<double[]>());
        for (int row = 0; row < batch; row++)
        {
            DirectLogitAttribution attribution =
                DirectLogitAttribution.Explain(model, run.Cache, row * length + length - 1, answers[row], wrong[row]);
            heads.Add([.. attribution.Components.Where(part => part.Kind == ComponentKind.Head).Select(part => part.Value)]);
            neurons.Add([.. attribution.Neurons.SelectMany(values => values.ToArray()).Select(value => (double)value)]);
            components.Add([.. attribution.Components.Where(part => part.Layer is not null || part.Kind <= ComponentKind.PosEmbed)
                .GroupBy(part => part.Layer is null ? part.Kind.ToString() : $"{part.Layer}{part.Kind >= ComponentKind.Mlp}")
                .Select(group => group.Sum(part => part.Value))]);
        }

        Compare("processed.decompose_attrs", components);
        // Where norms stand after attention and MLP, what heads and neurons add passes them; both forms are stored.
        string passed = golden.Tensors.ContainsKey("processed.head_attrs_post_norm") ? "_post_norm" : "";
        Compare("processed.neuron_attrs" + passed, neurons);
        if (processed || model.Weights.Blocks[0].Attention.V.Bias is null)
        {
            // Folding moves a value bias out of the heads.
            Compare("processed.head_attrs" + passed, heads);
        }

        CompareLens(model, run, points, length, golden.Tensors[$"{variant}.logit_lens"].ToSingles());

        void Compare(string tensor, List<double[]> ours)
        {
            float[] truth = golden.Tensors[tensor].ToSingles();
            Assert.Equal(truth.Length, ours.Sum(row => row.Length));
            double bound = 2e-5 + 1e-5 * truth.Max(MathF.Abs);
            for (int i = 0; i < truth.Length; i++)
            {
                Assert.Equal(truth[i], ours[i % batch][i / batch], bound);
            }

            output.WriteLine($"{name} {variant}: {tensor}: {truth.Length} values");
        }
    }

    private static HookPoint PointOf(string label, int layers) => label.Split('_') switch
    {
        ["final", _] => new HookPoint(HookKind.ResidPost, layers - 1),
        [var layer, "mid"] => new HookPoint(HookKind.ResidMid, int.Parse(layer, CultureInfo.InvariantCulture)),
        [var layer, _] => new HookPoint(HookKind.ResidPre, int.Parse(layer, CultureInfo.InvariantCulture)),
        _ => throw new FormatException(label),
    };

    /// <summary>The whole distribution, asked token by token.</summary>
    private static void CompareLens(Model model, RunResult run, HookPoint[] points, int length, float[] truth)
    {
        int vocabulary = model.Description.Vocabulary;
        int[] all = [.. Enumerable.Range(0, vocabulary)];
        for (int point = 0; point < points.Length; point++)
        {
            using Tensor first = run.Cache[points[point]].Slice(0, 1);
            LensReading reading = LogitLens.Read(model, first, 1, all);
            for (int row = 0; row < length; row++)
            {
                float[] logits = truth[((point * length + row) * vocabulary)..((point * length + row + 1) * vocabulary)];

                // The stored lens gives logits before their cap; probabilities are after it.
                double cap = model.Description.LogitSoftCap;
                double[] capped = [.. logits.Select(logit => cap > 0 ? cap * Math.Tanh(logit / cap) : logit)];
                double sum = capped.Sum(Math.Exp);
                Assert.All(all, token => Assert.Equal(Math.Exp(capped[token]) / sum, reading.Probabilities[row, token], 1e-5));
            }
        }
    }
}
