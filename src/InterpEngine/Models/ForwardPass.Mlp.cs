using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>The MLP half of a block.</summary>
internal sealed partial class ForwardPass
{
    /// <param name="layer">The block.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="input">The residual stream as the MLP reads it.</param>
    /// <param name="sharedNormed">The output of the norm that attention read too, where both halves share one.</param>
    /// <param name="added">What the MLP's output is added to.</param>
    /// <returns>added + what the MLP makes of its input.</returns>
    private Tensor Mlp(int layer, BlockWeights weights, Tensor input, Tensor? sharedNormed, Tensor added)
    {
        Tensor mlpIn = input.Share();
        bool changed = _hooks.Visit(HookKind.MlpIn, layer, ref mlpIn);
        using Tensor normed = MlpNorm(layer, weights, mlpIn, changed ? null : sharedNormed);
        mlpIn.Dispose();
        return weights.Mixture is { } mixture
            ? Mixture(layer, mixture, weights.Ln2Post, normed, added)
            : DenseMlp(layer, weights.Mlp!, weights.Ln2Post, normed, added);
    }

    private Tensor MlpNorm(int layer, BlockWeights weights, Tensor mlpIn, Tensor? sharedNormed)
    {
        if (sharedNormed is not null)
        {
            return sharedNormed.Share();
        }

        if (_description.SharedNorm)
        {
            Tensor result = Residual();
            _device.Run(weights.Ln1!.Of(mlpIn, _description) with { Out = result });
            return result;
        }

        return _description.Norms is NormPlacement.After or NormPlacement.OnResidual
            ? mlpIn.Share()
            : Norm(mlpIn, weights.Ln2!, HookKind.Ln2Scale, HookKind.Ln2Normalized, layer);
    }

    private Tensor DenseMlp(int layer, MlpWeights weights, NormWeights? post, Tensor normed, Tensor added)
    {
        Tensor? linear = null;
        if (weights.Up is { } up)
        {
            linear = Project(normed, up, _description.MlpWidth);
            _hooks.Visit(HookKind.MlpPreLinear, layer, ref linear);
        }

        Tensor neurons = Neurons(layer, weights.In, normed, linear);
        linear?.Dispose();
        _hooks.Visit(HookKind.MlpPost, layer, ref neurons);
        Tensor sum = ProjectAndAdd(neurons, weights.Out, added, post, WritePoints.Mlp, layer);
        neurons.Dispose();
        return sum;
    }

    /// <summary>The first projection of an MLP with its activation and gate, in one op unless a hook may change what lies between.</summary>
    private Tensor Neurons(int layer, Linear projection, Tensor normed, Tensor? gated)
    {
        Tensor post = New(_description.MlpWidth);
        if (_hooks.MayReplace(HookKind.MlpPre, layer))
        {
            Tensor changed = Project(normed, projection, _description.MlpWidth);
            _hooks.Visit(HookKind.MlpPre, layer, ref changed);
            _device.Run(new Activate { X = changed, Activation = _description.Activation, Multiply = View(gated), Out = post });
            changed.Dispose();
            return post;
        }

        Tensor? pre = _hooks.Wants(HookKind.MlpPre, layer) ? New(_description.MlpWidth) : null;
        _device.Run(new MatMul
        {
            X = normed,
            W = projection.Weight,
            Bias = projection.Bias,
            Activation = _description.Activation,
            Multiply = View(gated),
            Pre = View(pre),
            Out = post,
        });
        Show(HookKind.MlpPre, layer, pre);
        return post;
    }
}
