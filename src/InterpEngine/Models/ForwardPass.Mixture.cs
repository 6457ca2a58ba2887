using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// A mixture of experts in place of an MLP. The tokens of each expert are gathered, run through it as through any MLP, and added up again
/// with their weights; an expert that nobody chose costs nothing. Hook points stand in the order of the router's choices, so that
/// their shapes do not depend on what was chosen.
/// </summary>
internal sealed partial class ForwardPass
{
    /// <returns>added + the weighted sum of the experts' outputs, and the shared expert's.</returns>
    private Tensor Mixture(int layer, MixtureWeights weights, NormWeights? post, Tensor normed, Tensor added)
    {
        using Choice choice = Choose(layer, weights, normed);
        using Tensor outputs = RunExperts(layer, weights, choice, normed);
        bool split = weights.Shared is not null || post is not null || _description.ResidualScale != 1
            || _hooks.MayReplace(HookKind.MlpOut, layer);
        var op = new CombineRows { X = outputs, Indices = choice.Places, Weights = choice.Weights, Out = Residual() };
        if (split)
        {
            _device.Run(op);
            Tensor delta = weights.Shared is null ? op.Out.Tensor : AddShared(weights, normed, op.Out.Tensor);
            return AddTo(added, delta, post, WritePoints.Mlp, layer);
        }

        Tensor? seen = _hooks.Wants(HookKind.MlpOut, layer) ? Residual() : null;
        _device.Run(op with { Residual = added, Delta = View(seen) });
        Show(HookKind.MlpOut, layer, seen);
        return op.Out.Tensor;
    }

    /// <summary>The router's choice for each token.</summary>
    private Choice Choose(int layer, MixtureWeights weights, Tensor normed)
    {
        ExpertMixture mixture = _description.Experts!;
        Tensor logits = Project(normed, weights.Router, mixture.Count);
        _hooks.Visit(HookKind.RouterLogits, layer, ref logits);
        Tensor indices = _device.Allocate(ElementType.I32, _batch, _length, mixture.PerToken), multipliers = New(mixture.PerToken);
        using (Tensor rows = multipliers.Reshape(_batch * _length, mixture.PerToken))
        {
            _device.Run(new Route
            {
                Logits = logits,
                Score = mixture.Score,
                ChoiceBias = weights.Correction,
                Groups = mixture.Groups,
                ChosenGroups = mixture.GroupsPerToken,
                Renormalize = mixture.Renormalize,
                Factor = mixture.Scale,
                Indices = indices,
                Weights = rows,
            });
        }

        logits.Dispose();
        if (_inputs.KeyCount is not null)
        {
            using (multipliers)
            {
                return new Choice(_device, indices, mixture.PerToken, multipliers.Reshape(_batch * _length, mixture.PerToken));
            }
        }

        int[] chosen = indices.ToArray<int>();
        indices.Dispose();
        VisitChoice(layer, mixture, ref chosen);
        _hooks.Visit(HookKind.ExpertWeights, layer, ref multipliers);
        using (multipliers)
        {
            return new Choice(_device, new ExpertGroups(chosen, mixture.PerToken, mixture.Count),
                multipliers.Reshape(_batch * _length, mixture.PerToken));
        }
    }

    /// <summary>Shows the choice as numbers, as all hook points are, and takes another one back.</summary>
    private void VisitChoice(int layer, ExpertMixture mixture, ref int[] chosen)
    {
        if (!_hooks.Wants(HookKind.ExpertIndices, layer))
        {
            return;
        }

        Tensor shown = _device.Upload<float>([.. chosen.Select(expert => (float)expert)], _batch, _length, mixture.PerToken);
        bool changed = _hooks.Visit(HookKind.ExpertIndices, layer, ref shown);
        float[] experts = shown.ToArray<float>();
        shown.Dispose();
        int at = Array.FindIndex(experts, expert => !(expert >= 0 && expert < mixture.Count && float.IsInteger(expert)));
        if (changed && at >= 0)
        {
            throw new HookException(
                $"The hook at '{new HookPoint(HookKind.ExpertIndices, layer)}' chose expert {experts[at]}; there are 0 to {mixture.Count - 1}.");
        }

        chosen = [.. experts.Select(expert => (int)expert)];
    }

    /// <returns>[places, d]: each expert's outputs for its tokens.</returns>
    private Tensor RunExperts(int layer, MixtureWeights weights, Choice choice, Tensor normed)
    {
        int width = _description.Experts!.Width;
        using Tensor inputs = choice.Gather(Flat(normed), choice.Rows);
        Tensor linear = ForEach(weights.Up, choice, inputs, width);
        VisitExperts(HookKind.ExpertPreLinear, layer, choice, ref linear);
        Tensor neurons = ExpertNeurons(layer, weights, choice, inputs, linear);
        linear.Dispose();
        VisitExperts(HookKind.ExpertPost, layer, choice, ref neurons);
        Tensor outputs = ForEach(weights.Out, choice, neurons, _description.Width);
        neurons.Dispose();
        VisitExperts(HookKind.ExpertOut, layer, choice, ref outputs);
        return outputs;
    }

    private Tensor ExpertNeurons(int layer, MixtureWeights weights, Choice choice, Tensor inputs, Tensor linear)
    {
        int width = _description.Experts!.Width;
        float limit = _description.Experts.SwigluLimit;
        if (limit == 0 && !_hooks.Wants(HookKind.ExpertPre, layer))
        {
            return ForEach(weights.In, choice, inputs, width, linear);
        }

        Tensor pre = ForEach(weights.In, choice, inputs, width);
        VisitExperts(HookKind.ExpertPre, layer, choice, ref pre);
        Tensor post = _device.Allocate(ElementType.F32, pre.Shape);
        if (limit > 0)
        {
            _device.Run(new ClampedSwiglu
            {
                Gate = pre,
                Up = linear,
                Alpha = _description.Experts.SwigluAlpha,
                Limit = limit,
                Out = post,
            });
        }
        else
        {
            _device.Run(new Activate { X = pre, Activation = _description.Activation, Multiply = linear, Out = post });
        }

        pre.Dispose();
        return post;
    }

    /// <summary>One projection of every expert over its own rows; gated where <paramref name="gated"/> is given.</summary>
    private Tensor ForEach(WeightGroup experts, Choice choice, Tensor x, int columns, Tensor? gated = null)
    {
        Tensor result = _device.Allocate(ElementType.F32, x.Shape[0], columns);
        _device.Run(new GroupedMatMul
        {
            X = x,
            W = experts,
            Starts = choice.Starts,
            Choice = choice.Experts,
            Activation = gated is null ? Activation.None : _description.Activation,
            Multiply = View(gated),
            Out = result,
        });
        return result;
    }

    /// <summary>Shows the experts' values [batch, positions, choices, columns], in the order of the choices.</summary>
    private void VisitExperts(HookKind kind, int layer, Choice choice, ref Tensor grouped)
    {
        if (!_hooks.Wants(kind, layer))
        {
            return;
        }

        Tensor flat = choice.Gather(grouped, choice.Places);
        Tensor shown = flat.Reshape([_batch, _length, _description.Experts!.PerToken, grouped.Shape[1]]);
        flat.Dispose();
        if (_hooks.Visit(kind, layer, ref shown))
        {
            using Tensor changed = shown.Reshape(choice.Places.Shape[0], grouped.Shape[1]);
            grouped.Dispose();
            grouped = choice.Gather(changed, choice.Choices);
        }

        shown.Dispose();
    }

    /// <summary>What the experts add, and what the expert of all tokens adds. Takes delta over.</summary>
    private Tensor AddShared(MixtureWeights weights, Tensor normed, Tensor delta)
    {
        MlpWeights shared = weights.Shared!;
        int width = _description.Experts!.SharedWidth, rows = _batch * _length;
        using Tensor linear = Project(normed, shared.Up!, width), neurons = New(width), sum = delta;
        _device.Run(new MatMul
        {
            X = normed,
            W = shared.In.Weight,
            Activation = _description.Activation,
            Multiply = View(linear),
            Out = neurons,
        });
        Tensor result = Residual();
        if (weights.SharedGate is not { } gate)
        {
            _device.Run(new MatMul { X = neurons, W = shared.Out.Weight, Residual = sum, Out = result });
            return result;
        }

        using Tensor output = Project(neurons, shared.Out, _description.Width), score = Project(normed, gate, 1);
        _device.Run(new Activate { X = score, Activation = Activation.Sigmoid, Out = score });
        using Tensor multipliers = score.Reshape(rows, 1), each = _device.Upload<int>([.. Enumerable.Range(0, rows)], rows);
        _device.Run(new CombineRows { X = output, Indices = each, Weights = multipliers, Residual = sum, Out = result });
        return result;
    }

    /// <summary>Which experts run which tokens.</summary>
    private sealed class Choice : IDisposable
    {
        private readonly Device _device;

        /// <param name="device">Where it runs.</param>
        /// <param name="groups">The choices by expert.</param>
        /// <param name="weights">[tokens, choices], taken over.</param>
        public Choice(Device device, ExpertGroups groups, Tensor weights)
        {
            (_device, Starts, Weights) = (device, groups.Starts, weights);
            var choices = new int[groups.Rows.Length];
            for (int i = 0; i < groups.Places.Length; i++)
            {
                if (groups.Places[i] >= 0)
                {
                    choices[groups.Places[i]] = i;
                }
            }

            Rows = device.Upload<int>(groups.Rows, groups.Rows.Length);
            Places = device.Upload<int>(groups.Places, groups.Places.Length);
            Choices = device.Upload<int>(choices, choices.Length);
        }

        /// <summary>Choices that the host does not know: each has its place, in the order of the tokens.</summary>
        /// <param name="device">Where it runs.</param>
        /// <param name="experts">The expert of each choice, taken over.</param>
        /// <param name="perToken">Choices of each token.</param>
        /// <param name="weights">[tokens, choices], taken over.</param>
        public Choice(Device device, Tensor experts, int perToken, Tensor weights)
        {
            (_device, Experts, Weights) = (device, experts, weights);
            int[] places = [.. Enumerable.Range(0, (int)experts.Shape.Count)];
            Rows = device.Upload<int>([.. places.Select(place => place / perToken)], places.Length);
            Places = device.Upload<int>(places, places.Length);
            Choices = Places.Share();
        }

        /// <summary>The first place of each expert, where the host knows them.</summary>
        public ReadOnlyMemory<int> Starts { get; }

        /// <summary>For each place, its expert, where only the device knows it.</summary>
        public Tensor? Experts { get; }

        public Tensor Weights { get; }

        /// <summary>For each place, its token.</summary>
        public Tensor Rows { get; }

        /// <summary>For each choice, its place.</summary>
        public Tensor Places { get; }

        /// <summary>For each place, its choice.</summary>
        public Tensor Choices { get; }

        public Tensor Gather(Matrix from, Tensor indices)
        {
            Tensor result = _device.Allocate(ElementType.F32, indices.Shape[0], from.Columns);
            _device.Run(new GatherRows { From = from, Indices = indices, Out = result });
            return result;
        }

        public void Dispose()
        {
            Experts?.Dispose();
            Weights.Dispose();
            Rows.Dispose();
            Places.Dispose();
            Choices.Dispose();
        }
    }
}
