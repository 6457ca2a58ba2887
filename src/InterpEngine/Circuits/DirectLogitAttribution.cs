using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Circuits;

/// <summary>
/// Direct logit attribution: what each component wrote towards one token's logit at one position. The final norm's scale is
/// frozen at its value in the run, so that the logit is linear in the residual stream and the parts sum to it exactly.
/// </summary>
/// <remarks>
/// The logit is centred: the mean over the vocabulary is taken off, which changes no probability. Against another token it is the
/// difference of the two logits. A layer norm's centring is moved from each contribution to the direction, once for all:
/// (c − mean c)·g = c·(g − mean g).
/// </remarks>
public sealed class DirectLogitAttribution
{
    private readonly float[][] _towards;
    private readonly float[][] _posts;

    private DirectLogitAttribution(List<Contribution> components, float[][] neurons, float[][] posts, float[][] towards)
    {
        (Components, _posts, _towards) = (components, posts, towards);
        Neurons = [.. neurons.Select(values => new ReadOnlyMemory<float>(values))];
        Sum = components.Sum(component => component.Value);
    }

    /// <summary>Every component, in the order of the forward pass. Biases that the model lacks are left out.</summary>
    public IReadOnlyList<Contribution> Components { get; }

    /// <summary>The sum of all components: the centred logit, or the difference of the two logits.</summary>
    public double Sum { get; }

    /// <summary>What each neuron adds, by block: they sum to the block's <see cref="ComponentKind.Mlp"/>.</summary>
    public IReadOnlyList<ReadOnlyMemory<float>> Neurons { get; }

    /// <summary>What a run has to capture, at the explained position at least.</summary>
    public static HookSelection Points(Model model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return HookSelection.FromPoints([.. model.Points.Points.Where(point => point.Kind
            is HookKind.Embed or HookKind.PosEmbed or HookKind.Z or HookKind.MlpPost or HookKind.LnFinalScale)]);
    }

    /// <summary>Explains a token's logit.</summary>
    /// <param name="model">The model that ran.</param>
    /// <param name="cache">What the run captured: <see cref="Points"/>.</param>
    /// <param name="row">Which of the captured positions, counted through all sequences: ^1 for the last.</param>
    /// <param name="token">Whose logit.</param>
    /// <param name="against">The token to subtract; null for the mean over the vocabulary.</param>
    /// <exception cref="HookException">A point was not captured.</exception>
    /// <exception cref="ModelException">A token does not lie in the vocabulary.</exception>
    public static DirectLogitAttribution Explain(Model model, ActivationCache cache, Index row, int token, int? against = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        float[] direction = Direction(model, token, against);
        float[] frozen = ThroughFinalNorm(model, direction, Row(cache, HookKind.LnFinalScale, 0, row)[0]);
        using Tensor frozenOnDevice = model.Device.Upload<float>(frozen, 1, frozen.Length);
        int layers = model.Description.Layers, heads = model.Description.Heads, size = model.Description.HeadSize;
        var components = new List<Contribution>();
        var (towards, posts, neurons) = (new float[layers][], new float[layers][], new float[layers][]);
        Add(ComponentKind.Embed, Dot(Row(cache, HookKind.Embed, 0, row), frozen));
        if (model.Points.WhyAbsent(HookKind.PosEmbed) is null)
        {
            Add(ComponentKind.PosEmbed, Dot(Row(cache, HookKind.PosEmbed, 0, row), frozen));
        }

        for (int layer = 0; layer < layers; layer++)
        {
            BlockWeights block = model.Weights.Blocks[layer];
            float[] z = Row(cache, HookKind.Z, layer, row);
            towards[layer] = Before(block.O.Weight);
            for (int head = 0; head < heads; head++)
            {
                double value = Dot(z.AsSpan(head * size, size), towards[layer].AsSpan(head * size, size));
                components.Add(new Contribution(ComponentKind.Head, layer, head, value));
            }

            AddBias(ComponentKind.AttentionBias, block.O.Bias, frozen, layer);
            posts[layer] = Row(cache, HookKind.MlpPost, layer, row);
            neurons[layer] = Before(block.MlpOut.Weight);
            for (int i = 0; i < neurons[layer].Length; i++)
            {
                neurons[layer][i] *= posts[layer][i];
            }

            Add(ComponentKind.Mlp, neurons[layer].Sum(value => (double)value), layer);
            AddBias(ComponentKind.MlpBias, block.MlpOut.Bias, frozen, layer);
        }

        AddBias(ComponentKind.FinalNormBias, model.Weights.LnFinal.Bias, direction);
        if (model.Weights.Unembed.Bias?.ToArray<float>() is { } bias)
        {
            double subtracted = against is { } other ? bias[other] : bias.Average(value => (double)value);
            Add(ComponentKind.UnembedBias, bias[token] - subtracted);
        }

        return new DirectLogitAttribution(components, neurons, posts, towards);

        void Add(ComponentKind kind, double value, int? layer = null) =>
            components.Add(new Contribution(kind, layer, null, value));

        void AddBias(ComponentKind kind, Tensor? bias, float[] along, int? layer = null)
        {
            if (bias is not null)
            {
                Add(kind, Dot(bias.ToArray<float>(), along), layer);
            }
        }

        // The direction as the inputs of a projection see it.
        float[] Before(Weight projection)
        {
            using Tensor seen = model.Device.Allocate(ElementType.F32, 1, projection.Inner);
            model.Device.Run(new MatMulTransposed { X = frozenOnDevice, W = projection, Out = seen });
            return seen.ToArray<float>();
        }
    }

    /// <summary>The neurons that add or take most, strongest first.</summary>
    public IReadOnlyList<NeuronContribution> StrongestNeurons(int count) =>
        [.. Neurons.SelectMany((values, layer) => values.ToArray().Select((value, neuron) =>
                new NeuronContribution(layer, neuron, _posts[layer][neuron], value)))
            .OrderByDescending(neuron => Math.Abs(neuron.Value)).ThenBy(neuron => neuron.Layer).ThenBy(neuron => neuron.Neuron)
            .Take(count)];

    /// <summary>
    /// A head's contribution by the token that it was read from: pattern × (value · direction). Over all keys it sums to the
    /// head's.
    /// </summary>
    /// <param name="layer">The block.</param>
    /// <param name="head">The head.</param>
    /// <param name="pattern">[keys]: the head's attention from the explained position.</param>
    /// <param name="values">[keys, head size]: the values that it reads, <c>attn.hook_v</c> of its group.</param>
    public double[] Sources(int layer, int head, ReadOnlySpan<float> pattern, ReadOnlySpan<float> values)
    {
        var result = new double[pattern.Length];
        int size = pattern.Length == 0 ? 0 : values.Length / pattern.Length;
        for (int key = 0; key < result.Length; key++)
        {
            result[key] = pattern[key] * Dot(values.Slice(key * size, size), _towards[layer].AsSpan(head * size, size));
        }

        return result;
    }

    /// <summary>W_U[:, token] less W_U[:, against] or the mean column.</summary>
    private static float[] Direction(Model model, int token, int? against)
    {
        using Tensor plus = model.UnembedDirections(token);
        using Tensor minus = against is { } other ? model.UnembedDirections(other) : model.MeanUnembedDirection();
        float[] direction = plus.ToArray<float>(), subtracted = minus.ToArray<float>();
        for (int i = 0; i < direction.Length; i++)
        {
            direction[i] -= subtracted[i];
        }

        return direction;
    }

    /// <summary>The direction before the final norm, whose gain, centring and frozen scale it takes in.</summary>
    private static float[] ThroughFinalNorm(Model model, float[] direction, float scale)
    {
        float[]? gain = model.Weights.LnFinal.Gain?.ToArray<float>();
        double[] result = [.. direction.Select((value, i) => (double)value * (gain?[i] ?? 1))];
        double mean = model.Description.Norm == NormKind.Layer ? result.Average() : 0;
        return [.. result.Select(value => (float)((value - mean) / scale))];
    }

    private static float[] Row(ActivationCache cache, HookKind kind, int layer, Index row)
    {
        Tensor value = cache[new HookPoint(kind, layer)];

        // z has two axes for what is one row.
        int axes = kind == HookKind.Z ? 2 : 1, columns = 1;
        foreach (int axis in value.Shape.Axes[^axes..])
        {
            columns *= axis;
        }

        int rows = checked((int)(value.Shape.Count / columns));
        using Tensor matrix = value.Reshape(rows, columns);
        using Tensor one = matrix.Slice(row.GetOffset(rows), 1);
        return one.ToArray<float>();
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }
}
