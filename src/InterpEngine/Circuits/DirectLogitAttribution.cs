using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Circuits;

/// <summary>
/// Direct logit attribution: what each component wrote towards one token's logit at one position. The scales of the final norm, and of
/// norms on what a block writes or on the residual stream, are frozen at their values in the run, so that the logit is linear in what
/// was written and the parts sum to it exactly.
/// </summary>
/// <remarks>
/// Multipliers of residual additions and of logits are part of each contribution. Where logits are soft-capped, the logit before its
/// cap is explained: the cap keeps the order of tokens. Experts stand as one component a block.
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
        return HookSelection.FromPoints([.. model.Points.Points.Where(point =>
            point.Kind is HookKind.Embed or HookKind.PosEmbed or HookKind.Z or HookKind.LnFinalScale
            || point.Kind is HookKind.Ln1PostScale or HookKind.Ln2PostScale
            || (point.Kind == HookKind.MlpPost && !model.Description.IsMixture(point.Layer))
            || (point.Kind == HookKind.MlpOut && model.Description.IsMixture(point.Layer))
            || (point.Kind is HookKind.Ln1Scale or HookKind.Ln2Scale && model.Description.Norms == NormPlacement.OnResidual))]);
    }

    /// <summary>Explains a token's logit.</summary>
    /// <param name="model">The model that ran.</param>
    /// <param name="cache">What the run captured: <see cref="Points"/>.</param>
    /// <param name="row">Which of the captured positions, counted through all sequences: ^1 for the last.</param>
    /// <param name="token">Whose logit.</param>
    /// <param name="against">The token to subtract; null for the mean over the vocabulary.</param>
    /// <exception cref="HookException">A point was not captured.</exception>
    /// <exception cref="ModelException">A token does not lie in the vocabulary, or the model's head is not linear (BERT).</exception>
    public static DirectLogitAttribution Explain(Model model, ActivationCache cache, Index row, int token, int? against = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        if (model.Description.HeadTransform)
        {
            throw new ModelException("The head of this model is not linear in the residual stream, so that its logits have no direct parts.");
        }

        var parts = new Walk(model, cache, row);
        List<Contribution> components = parts.Back(Direction(model, token, against));
        if (model.Weights.Unembed.Bias?.ToArray<float>() is { } bias)
        {
            double subtracted = against is { } other ? bias[other] : bias.Average(value => (double)value);
            double value = (bias[token] - subtracted) * model.Description.LogitScale;
            components.Add(new Contribution(ComponentKind.UnembedBias, null, null, value));
        }

        return new DirectLogitAttribution(components, parts.Neurons, parts.Posts, parts.Towards);
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

    /// <summary>W_U[:, token] less W_U[:, against] or the mean column, as the final norm's output meets it.</summary>
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

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    /// <summary>
    /// One pass back through the model: the direction, turned and stretched by each frozen norm and scale on the way, meets what each
    /// component wrote.
    /// </summary>
    private sealed class Walk(Model model, ActivationCache cache, Index row)
    {
        private readonly ModelDescription _description = model.Description;
        private readonly List<Contribution> _backwards = [];

        public float[][] Towards { get; } = new float[model.Description.Layers][];

        public float[][] Posts { get; } = new float[model.Description.Layers][];

        public float[][] Neurons { get; } = new float[model.Description.Layers][];

        /// <returns>The components in the order of the forward pass.</returns>
        public List<Contribution> Back(float[] direction)
        {
            if (model.Weights.LnFinal is { } final)
            {
                direction = Through(final, direction, HookKind.LnFinalScale, 0, ComponentKind.FinalNormBias);
            }

            for (int layer = _description.Layers - 1; layer >= 0; layer--)
            {
                BlockWeights block = model.Weights.Blocks[layer];
                bool onResidual = _description.Norms == NormPlacement.OnResidual;
                direction = onResidual ? Through(block.Ln2!, direction, HookKind.Ln2Scale, layer) : direction;
                Mlp(layer, block, direction);
                direction = onResidual ? Through(block.Ln1!, direction, HookKind.Ln1Scale, layer) : direction;
                Attention(layer, block, direction);
            }

            if (model.Points.WhyAbsent(HookKind.PosEmbed) is null)
            {
                Add(ComponentKind.PosEmbed, Dot(Row(HookKind.PosEmbed, 0), direction));
            }

            Add(ComponentKind.Embed, Dot(Row(HookKind.Embed, 0), direction));
            _backwards.Reverse();
            if (model.Weights.LnFinal?.Bias is not null)
            {
                // The final norm's bias was met first and comes last.
                _backwards.Add(_backwards.Single(part => part.Kind == ComponentKind.FinalNormBias));
                _backwards.RemoveAt(_backwards.FindIndex(part => part.Kind == ComponentKind.FinalNormBias));
            }

            return _backwards;
        }

        private void Mlp(int layer, BlockWeights block, float[] direction)
        {
            (Posts[layer], Neurons[layer]) = ([], []);
            if (_description.IsMixture(layer))
            {
                Add(ComponentKind.Experts, Dot(Row(HookKind.MlpOut, layer), direction), layer);
                return;
            }

            float[] written = Written(block.Ln2Post, direction, HookKind.Ln2PostScale, layer);
            Linear projection = block.Mlp!.Out;
            AddBias(ComponentKind.MlpBias, projection.Bias, written, layer);
            (Posts[layer], Neurons[layer]) = (Row(HookKind.MlpPost, layer), Before(projection.Weight, written));
            for (int i = 0; i < Neurons[layer].Length; i++)
            {
                Neurons[layer][i] *= Posts[layer][i];
            }

            Add(ComponentKind.Mlp, Neurons[layer].Sum(value => (double)value), layer);
        }

        private void Attention(int layer, BlockWeights block, float[] direction)
        {
            float[] written = Written(block.Ln1Post, direction, HookKind.Ln1PostScale, layer);
            Linear projection = block.Attention.O;
            AddBias(ComponentKind.AttentionBias, projection.Bias, written, layer);
            float[] z = Row(HookKind.Z, layer);
            Towards[layer] = Before(projection.Weight, written);
            int size = _description.ValueSize;
            for (int head = _description.Heads - 1; head >= 0; head--)
            {
                double value = Dot(z.AsSpan(head * size, size), Towards[layer].AsSpan(head * size, size));
                _backwards.Add(new Contribution(ComponentKind.Head, layer, head, value));
            }
        }

        /// <summary>The direction as a half of a block sees it before its norm and scale.</summary>
        private float[] Written(NormWeights? post, float[] direction, HookKind scale, int layer)
        {
            float[] scaled = [.. direction.Select(value => value * _description.ResidualScale)];
            return post is null ? scaled : Through(post, scaled, scale, layer);
        }

        /// <summary>The direction before a norm, whose gain, centring and frozen scale it takes in.</summary>
        private float[] Through(NormWeights norm, float[] direction, HookKind scale, int layer, ComponentKind kind = ComponentKind.NormBias)
        {
            AddBias(kind, norm.Bias, direction, kind == ComponentKind.NormBias ? layer : null);
            float frozen = Row(scale, layer)[0];
            float[]? gain = norm.Gain?.ToArray<float>();
            double[] result = [.. direction.Select((value, i) => (double)value * (gain?[i] ?? 1))];
            double mean = _description.Norm == NormKind.Layer ? result.Average() : 0;
            return [.. result.Select(value => (float)((value - mean) / frozen))];
        }

        /// <summary>The direction as the inputs of a projection see it.</summary>
        private float[] Before(Weight projection, float[] direction)
        {
            using Tensor along = model.Device.Upload<float>(direction, 1, direction.Length);
            using Tensor seen = model.Device.Allocate(ElementType.F32, 1, projection.Inner);
            model.Device.Run(new MatMulTransposed { X = along, W = projection, Out = seen });
            return seen.ToArray<float>();
        }

        private void Add(ComponentKind kind, double value, int? layer = null) =>
            _backwards.Add(new Contribution(kind, layer, null, value));

        private void AddBias(ComponentKind kind, Tensor? bias, float[] along, int? layer)
        {
            if (bias is not null)
            {
                Add(kind, Dot(bias.ToArray<float>(), along), layer);
            }
        }

        private float[] Row(HookKind kind, int layer)
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
    }
}
