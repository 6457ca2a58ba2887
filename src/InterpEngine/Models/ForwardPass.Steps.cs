using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>The steps that the parts of a block are made of.</summary>
internal sealed partial class ForwardPass
{
    /// <summary>
    /// residual + what a half of the block writes: its projection of x, normed and scaled as the model has it. What is added is a hook
    /// point. One op, unless something stands between.
    /// </summary>
    private Tensor ProjectAndAdd(Tensor x, Linear projection, Tensor residual, NormWeights? post, WritePoints points, int layer)
    {
        if (post is not null || _hooks.MayReplace(points.Out, layer))
        {
            return AddTo(residual, Project(x, projection, _description.Width), post, points, layer);
        }

        Tensor sum = Residual();
        Tensor? delta = _hooks.Wants(points.Out, layer) ? Residual() : null;
        _device.Run(new MatMul
        {
            X = Flat(x),
            W = projection.Weight,
            Bias = projection.Bias,
            Scale = _description.ResidualScale,
            Residual = residual,
            Delta = View(delta),
            Out = sum,
        });
        Show(points.Out, layer, delta);
        return sum;
    }

    /// <summary>residual + delta after its norm and scale, a hook point. Takes delta over.</summary>
    private Tensor AddTo(Tensor residual, Tensor delta, NormWeights? post, WritePoints points, int layer)
    {
        if (post is not null)
        {
            if (_description.ResidualScale == 1 && !_hooks.MayReplace(points.Out, layer))
            {
                return AddNormed(residual, delta, post, points, layer);
            }

            Tensor normed = Norm(delta, post, points.PostScale, points.PostNormalized, layer);
            delta.Dispose();
            delta = normed;
        }

        if (_description.ResidualScale != 1)
        {
            _device.Run(new Map { X = delta, Kind = MapKind.Scale, Parameter = _description.ResidualScale, Out = delta });
        }

        Tensor sum = Residual();
        _hooks.Visit(points.Out, layer, ref delta);
        _device.Run(new Add { A = residual, B = delta, Out = sum });
        delta.Dispose();
        return sum;
    }

    /// <summary>residual + norm(delta) as one op. Takes delta over.</summary>
    private Tensor AddNormed(Tensor residual, Tensor delta, NormWeights post, WritePoints points, int layer)
    {
        Tensor? added = _hooks.Wants(points.Out, layer) ? Residual() : null;
        Tensor sum = Norm(delta, post, points.PostScale, points.PostNormalized, layer, residual, added);
        delta.Dispose();
        Show(points.Out, layer, added);
        return sum;
    }

    /// <summary>A norm with its two hook points; <c>residual + norm(x)</c> where a residual is given, and what is added goes to added.</summary>
    private Tensor Norm(
        Tensor x, NormWeights weights, HookKind scaleKind, HookKind normalizedKind, int layer, Tensor? residual = null, Tensor? added = null,
        ElementType type = ElementType.F32)
    {
        Tensor result = _device.Allocate(type, x.Shape);
        bool split = _hooks.MayReplace(scaleKind, layer) || _hooks.MayReplace(normalizedKind, layer);
        Tensor? scale = split || _hooks.Wants(scaleKind, layer) ? _device.Allocate(ElementType.F32, x.Shape[0], x.Shape[1], 1) : null;
        Tensor? normalized = split || _hooks.Wants(normalizedKind, layer) ? _device.Allocate(ElementType.F32, x.Shape) : null;
        Norm op = weights.Of(x, _description);
        if (split)
        {
            _device.Run(op with { Scale = scale });
            _hooks.Visit(scaleKind, layer, ref scale!);
            _device.Run(op with { GivenScale = scale, Normalized = normalized! });
            _hooks.Visit(normalizedKind, layer, ref normalized!);
            _device.Run(op with { GivenNormalized = normalized, Residual = View(residual), Delta = View(added), Out = result });
            scale.Dispose();
            normalized.Dispose();
        }
        else
        {
            _device.Run(op with
            {
                Scale = scale,
                Normalized = View(normalized),
                Residual = View(residual),
                Delta = View(added),
                Out = result,
            });
            Show(scaleKind, layer, scale);
            Show(normalizedKind, layer, normalized);
        }

        return result;
    }

    private Tensor Project(Tensor x, Linear projection, params ReadOnlySpan<int> axes)
    {
        Tensor result = New(axes);
        _device.Run(ProductOf(x, projection, result));
        return result;
    }

    private MatMul ProductOf(Tensor x, Linear projection, Tensor result) =>
        new() { X = Flat(x), W = projection.Weight, Bias = projection.Bias, Out = Flat(result) };

    private Tensor LookUp(Weight table, Tensor rows)
    {
        Tensor result = New(table.Inner);
        _device.Run(new Embed { Ids = rows, Table = table, Out = result });
        return result;
    }

    /// <summary>Both are taken over.</summary>
    private Tensor Sum(Tensor a, Tensor b)
    {
        Tensor sum = Residual();
        _device.Run(new Add { A = a, B = b, Out = sum });
        a.Dispose();
        b.Dispose();
        return sum;
    }

    /// <summary>Hands a stored value to the hooks and lets go of it.</summary>
    private void Show(HookKind kind, int layer, Tensor? value)
    {
        if (value is not null)
        {
            _hooks.Visit(kind, layer, ref value);
            value.Dispose();
        }
    }

    private Tensor Residual() => New(_description.Width);

    /// <summary>[batch, positions, axes…].</summary>
    private Tensor New(params ReadOnlySpan<int> axes) => New(ElementType.F32, axes);

    private Tensor New(ElementType type, params ReadOnlySpan<int> axes) => _device.Allocate(type, [_batch, _length, .. axes]);

    /// <summary>How a value is kept that a projection reads: as its products like it, if no hook looks at it.</summary>
    private ElementType OperandOf(Linear projection, bool isObserved = false) =>
        isObserved ? ElementType.F32 : _device.OperandType(projection.Weight);

    private static Matrix? View(Tensor? tensor) => tensor is null ? default(Matrix?) : Matrix.From(tensor);

    /// <summary>[batch · positions, everything else]: heads side by side, as a projection sees them.</summary>
    private Matrix Flat(Tensor tensor)
    {
        int columns = checked((int)(tensor.Shape.Count / _batch / _length));
        return new Matrix(tensor, 0, _batch * _length, columns, columns);
    }

    /// <summary>The hook points of what a half of a block writes.</summary>
    private readonly record struct WritePoints(HookKind Out, HookKind PostScale, HookKind PostNormalized)
    {
        public static WritePoints Attention { get; } = new(HookKind.AttnOut, HookKind.Ln1PostScale, HookKind.Ln1PostNormalized);

        public static WritePoints Mlp { get; } = new(HookKind.MlpOut, HookKind.Ln2PostScale, HookKind.Ln2PostNormalized);
    }
}
