using InterpEngine.Circuits;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using InterpEngine.Tests.Models;
using Xunit;

namespace InterpEngine.Tests.Circuits;

/// <summary>The identities of direct logit attribution, on every model of the goldens that the engine reads.</summary>
public sealed class DirectLogitAttributionTests
{
    public static TheoryData<string> Models()
    {
        var data = new TheoryData<string>();
        foreach (string name in Goldens.Cases("models"))
        {
            using var golden = new GoldenModel(name);
            if (golden.ModelType != "bert")
            {
                data.Add(name);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void The_components_sum_to_the_centred_logit_and_to_the_difference_of_two(string name)
    {
        using var subject = new Subject(name);
        for (int row = 0; row < subject.Rows; row++)
        {
            double[] logits = subject.Logits(row);
            double mean = logits.Average();
            foreach ((int token, int against) in ((int, int)[])[(3, 11), (11, 3), (0, 40)])
            {
                DirectLogitAttribution centred = subject.Explain(row, token), difference = subject.Explain(row, token, against);
                Close(logits[token] - mean, centred);
                Close(logits[token] - logits[against], difference);
                for (int i = 0; i < difference.Components.Count; i++)
                {
                    double value = centred.Components[i].Value - subject.Explain(row, against).Components[i].Value;
                    Assert.Equal(value, difference.Components[i].Value, 1e-5 * (1 + Math.Abs(value)));
                }
            }
        }

        static void Close(double logit, DirectLogitAttribution attribution)
        {
            double size = 1 + attribution.Components.Sum(part => Math.Abs(part.Value));
            Assert.Equal(attribution.Components.Sum(part => part.Value), attribution.Sum);
            Assert.Equal(logit, attribution.Sum, 2e-6 * size);
        }
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Heads_are_what_their_results_say_and_neurons_sum_to_the_mlp(string name)
    {
        using var subject = new Subject(name);
        ModelDescription model = subject.Model.Description;
        DirectLogitAttribution attribution = subject.Explain(1, 3, 11);
        double[] direction = subject.FrozenDirection(1, 3, 11);
        for (int layer = 0; layer < model.Layers; layer++)
        {
            float[] results = subject.Cache[new HookPoint(HookKind.Result, layer)].ToArray<float>();
            double bias = Of(ComponentKind.AttentionBias, layer), heads = Of(ComponentKind.Head, layer);
            bool direct = model.Norms is NormPlacement.Before;
            for (int head = 0; direct && head < model.Heads; head++)
            {
                double value = Dot(results.AsSpan((model.Heads + head) * model.Width, model.Width), direction) * model.ResidualScale;
                Assert.Equal(value, attribution.Components.Single(part => part.Layer == layer && part.Head == head).Value, 2e-5);
            }

            float[] attention = subject.Cache[new HookPoint(HookKind.AttnOut, layer)].ToArray<float>();
            Assert.Equal(Dot(attention.AsSpan(model.Width, model.Width), direction), heads + bias, 5e-5);
            float[] mlp = subject.Cache[new HookPoint(HookKind.MlpOut, layer)].ToArray<float>();
            double whole = Of(ComponentKind.Mlp, layer) + Of(ComponentKind.MlpBias, layer) + Of(ComponentKind.Experts, layer);
            Assert.Equal(Dot(mlp.AsSpan(model.Width, model.Width), direction), whole, 5e-5);
            Assert.Equal(attribution.Neurons[layer].ToArray().Sum(value => (double)value), Of(ComponentKind.Mlp, layer), 1e-9);
        }

        double Of(ComponentKind kind, int layer) =>
            attribution.Components.Where(part => part.Kind == kind && part.Layer == layer).Sum(part => part.Value);

        static double Dot(ReadOnlySpan<float> a, double[] b)
        {
            double sum = 0;
            for (int i = 0; i < b.Length; i++)
            {
                sum += a[i] * b[i];
            }

            return sum;
        }
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Sources_sum_to_the_head(string name)
    {
        using var subject = new Subject(name);
        ModelDescription model = subject.Model.Description;
        int length = subject.Length, row = length - 1, group = model.Heads / model.KeyValueHeads, size = model.ValueSize;
        DirectLogitAttribution attribution = subject.Explain(row, 5);
        foreach (Contribution part in attribution.Components.Where(part => part.Kind == ComponentKind.Head))
        {
            (int layer, int head) = (part.Layer!.Value, part.Head!.Value);
            float[] pattern = subject.Cache[new HookPoint(HookKind.Pattern, layer)].ToArray<float>();
            float[] values = subject.Cache[new HookPoint(HookKind.V, layer)].ToArray<float>();
            float[] read = [.. Enumerable.Range(0, length)
                .SelectMany(key => values.AsSpan((key * model.KeyValueHeads + head / group) * size, size).ToArray())];
            double[] sources = attribution.Sources(layer, head, pattern.AsSpan((head * length + row) * length, length), read);
            Assert.Equal(part.Value, sources.Sum(), 2e-5);
        }
    }

    [Fact]
    public void The_strongest_neurons_come_first_and_are_told_apart()
    {
        using var subject = new Subject("gpt2");
        DirectLogitAttribution attribution = subject.Explain(2, 3);
        IReadOnlyList<NeuronContribution> strongest = attribution.StrongestNeurons(5);
        Assert.Equal(5, strongest.Count);
        IEnumerable<double> all =
            attribution.Neurons.SelectMany(values => values.ToArray()).Select(value => Math.Abs((double)value));
        Assert.Equal(all.OrderDescending().Take(5), strongest.Select(neuron => Math.Abs(neuron.Value)));
        Assert.All(strongest, neuron => Assert.Equal(attribution.Neurons[neuron.Layer].Span[neuron.Neuron], neuron.Value));
    }

    [Fact]
    public void A_missing_point_and_a_token_outside_the_vocabulary_are_named()
    {
        using var subject = new Subject("gpt2");
        using RunResult run = subject.Model.Run(TokenBatch.Single(1, 2), new RunOptions { Capture = "blocks.*.attn.hook_z" });
        var missing = Assert.Throws<HookException>(() => DirectLogitAttribution.Explain(subject.Model, run.Cache, ^1, 3));
        Assert.Contains("was not captured", missing.Message, StringComparison.Ordinal);
        var token = Assert.Throws<ModelException>(() => subject.Explain(0, 99999));
        Assert.Contains("99999", token.Message, StringComparison.Ordinal);
        Assert.Equal(token.Message, Assert.Throws<ModelException>(() => subject.Explain(0, 3, 99999)).Message);
    }

    /// <summary>Norms on the residual stream and a narrow unembedding, which no golden has.</summary>
    [Fact]
    public void The_components_sum_to_the_logit_where_norms_stand_on_the_residual_stream()
    {
        var settings = new Dictionary<string, object>
        {
            ["model_type"] = "opt",
            ["vocab_size"] = 50,
            ["hidden_size"] = 24,
            ["num_attention_heads"] = 3,
            ["num_hidden_layers"] = 3,
            ["ffn_dim"] = 31,
            ["max_position_embeddings"] = 16,
            ["word_embed_proj_dim"] = 9,
            ["do_layer_norm_before"] = false,
        };
        using var folder = new TemporaryFolder();
        RandomModel.Write(folder.Path, settings, seed: 3);
        using var subject = new Subject(folder.Path, [4, 40, 7, 7, 12]);
        double[] logits = subject.Logits(2);
        DirectLogitAttribution attribution = subject.Explain(2, 11, 3);
        Assert.Contains(attribution.Components, part => part.Kind == ComponentKind.NormBias);
        Assert.Equal(logits[11] - logits[3], attribution.Sum, 2e-6 * (1 + attribution.Components.Sum(part => Math.Abs(part.Value))));
    }

    [Fact]
    public void A_head_that_is_not_linear_is_refused()
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Goldens.Folder("models", "bert"), device);
        using RunResult run = model.Run(TokenBatch.Single(5, 6), new RunOptions { Capture = DirectLogitAttribution.Points(model) });
        var refused = Assert.Throws<ModelException>(() => DirectLogitAttribution.Explain(model, run.Cache, ^1, 3));
        Assert.Contains("not linear", refused.Message, StringComparison.Ordinal);
    }

    /// <summary>A golden model and one run of its first sequence.</summary>
    private sealed class Subject : IDisposable
    {
        private readonly Device _device = Device.Cpu(threads: 1);
        private readonly RunResult _run;

        public Subject(string name)
            : this(Goldens.Folder("models", name), FirstSequence(name))
        {
        }

        public Subject(string folder, int[] tokens)
        {
            Model = Model.Load(folder, _device);
            (Length, Rows) = (tokens.Length, Math.Min(tokens.Length, 3));
            HookPoint[] more = [.. Enumerable.Range(0, Model.Description.Layers).SelectMany(
                _ => (HookKind[])[HookKind.Result, HookKind.AttnOut, HookKind.MlpOut, HookKind.Pattern, HookKind.V],
                (layer, kind) => new HookPoint(kind, layer))];
            _run = Model.Run(
                TokenBatch.Single(tokens),
                new RunOptions { Capture = [.. DirectLogitAttribution.Points(Model), .. HookSelection.FromPoints(more)] });
        }

        public Model Model { get; }

        public int Length { get; }

        public int Rows { get; }

        public ActivationCache Cache => _run.Cache;

        /// <summary>A row of logits, before any soft cap.</summary>
        public double[] Logits(int row)
        {
            int vocabulary = Model.Description.Vocabulary;
            double cap = Model.Description.LogitSoftCap;
            return [.. _run.Logits!.ToArray<float>().AsSpan(row * vocabulary, vocabulary).ToArray()
                .Select(logit => cap > 0 ? cap * Math.Atanh(logit / cap) : logit)];
        }

        public DirectLogitAttribution Explain(int row, int token, int? against = null) =>
            DirectLogitAttribution.Explain(Model, _run.Cache, row, token, against);

        private static int[] FirstSequence(string name)
        {
            using var golden = new GoldenModel(name);
            return golden.Tokens.Sequence(0).ToArray();
        }

        /// <summary>What a write to the stream adds to the difference of two logits, worked out from the weights alone.</summary>
        public double[] FrozenDirection(int row, int token, int against)
        {
            using Tensor columns = Model.UnembedDirections(token, against);
            float[] pair = columns.ToArray<float>();
            float[]? gain = Model.Weights.LnFinal!.Gain?.ToArray<float>();
            float scale = Cache[new HookPoint(HookKind.LnFinalScale)].ToArray<float>()[row];
            int width = Model.Description.Width;
            double[] direction =
                [.. Enumerable.Range(0, width).Select(i => ((double)pair[i] - pair[width + i]) * (gain?[i] ?? 1) / scale)];
            double mean = Model.Description.Norm == NormKind.Layer ? direction.Average() : 0;
            return [.. direction.Select(value => value - mean)];
        }

        public void Dispose()
        {
            _run.Dispose();
            Model.Dispose();
            _device.Dispose();
        }
    }
}
