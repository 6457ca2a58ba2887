using System.Runtime.InteropServices;
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
            : Norm(
                mlpIn, weights.Ln2!, HookKind.Ln2Scale, HookKind.Ln2Normalized, layer,
                type: weights.Mlp is { } mlp ? OperandOf(mlp.In) : ElementType.F32);
    }

    private Tensor DenseMlp(int layer, MlpWeights weights, NormWeights? post, Tensor normed, Tensor added)
    {
        Tensor neurons = Neurons(layer, weights, normed);
        _hooks.Visit(HookKind.MlpPost, layer, ref neurons);
        Tensor sum = ProjectAndAdd(neurons, weights.Out, added, post, WritePoints.Mlp, layer);
        neurons.Dispose();
        return sum;
    }

    /// <summary>
    /// The first projections of an MLP with its activation and gate: one op, unless a hook may change what lies between.
    /// </summary>
    private Tensor Neurons(int layer, MlpWeights weights, Tensor normed)
    {
        Tensor post = New(OperandOf(weights.Out, _hooks.Wants(HookKind.MlpPost, layer)), _description.MlpWidth);
        if (weights.Up is not null && !_hooks.Wants(HookKind.MlpPre, layer) && !_hooks.Wants(HookKind.MlpPreLinear, layer))
        {
            Gate(weights, normed, post);
            return post;
        }

        bool mayReplacePre = _hooks.MayReplace(HookKind.MlpPre, layer);
        Tensor? linear = weights.Up is null ? null : New(_description.MlpWidth);
        var products = new List<MatMul>();
        if (linear is not null)
        {
            products.Add(ProductOf(normed, weights.Up!, linear));
            if (mayReplacePre || _hooks.MayReplace(HookKind.MlpPreLinear, layer))
            {
                _device.Run(products[0]);
                products.Clear();
                _hooks.Visit(HookKind.MlpPreLinear, layer, ref linear);
            }
        }

        if (mayReplacePre)
        {
            Tensor changed = Project(normed, weights.In, _description.MlpWidth);
            _hooks.Visit(HookKind.MlpPre, layer, ref changed);
            _device.Run(new Activate { X = changed, Activation = _description.Activation, Multiply = View(linear), Out = post });
            changed.Dispose();
        }
        else
        {
            Tensor? pre = _hooks.Wants(HookKind.MlpPre, layer) ? New(_description.MlpWidth) : null;
            products.Add(ProductOf(normed, weights.In, post) with
            {
                Activation = _description.Activation,
                Multiply = View(linear),
                Pre = View(pre),
            });
            _device.Run(CollectionsMarshal.AsSpan(products));
            if (products.Count > 1)
            {
                Show(HookKind.MlpPreLinear, layer, linear?.Share());
            }

            Show(HookKind.MlpPre, layer, pre);
        }

        linear?.Dispose();
        return post;
    }

    /// <summary>A gated MLP's neurons when nobody looks at what lies between, which is then kept as short as the device likes it.</summary>
    private void Gate(MlpWeights weights, Tensor normed, Tensor post)
    {
        int rows = _batch * _length, width = _description.MlpWidth, atOnce = Math.Min(width, _device.ColumnsAtOnce(rows));
        using Tensor linear = New(atOnce);
        for (int column = 0; column < width; column += atOnce)
        {
            int count = Math.Min(atOnce, width - column);
            using Tensor? upBias = weights.Up!.Bias?.Slice(column, count), inBias = weights.In.Bias?.Slice(column, count);
            var part = new Matrix(linear, 0, rows, count, atOnce);
            var up = new MatMul { X = Flat(normed), W = weights.Up.Weight, Bias = upBias, ColumnStart = column, Out = part };
            _device.Run(up, up with
            {
                W = weights.In.Weight,
                Bias = inBias,
                Activation = _description.Activation,
                Multiply = part,
                Out = new Matrix(post, column, rows, count, width),
            });
        }
    }
}
