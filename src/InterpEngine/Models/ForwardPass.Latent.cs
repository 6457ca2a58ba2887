using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>Multi-head latent attention: queries, keys and values from narrow vectors, and keys that share a rotated part.</summary>
internal sealed partial class ForwardPass
{
    private (Tensor Q, Tensor K, Tensor V) LatentHeads(int layer, AttentionWeights weights, LatentAttention latent, Tensor normed)
    {
        (int heads, int size) = (_description.Heads, _description.HeadSize);
        using Tensor queryInput = weights.QDown is { } down ? Narrow(normed, down, weights.QDownNorm!, latent) : normed.Share();
        using Tensor keyValueInput = Narrow(normed, weights.KeyValueDown!, weights.KeyValueDownNorm!, latent);
        Tensor q = Project(queryInput, weights.Q, heads, size);
        _hooks.Visit(HookKind.Q, layer, ref q);
        Tensor k = Keys(weights, latent, normed, keyValueInput);
        Tensor v = Project(keyValueInput, weights.V, heads, _description.ValueSize);
        _hooks.Visit(HookKind.V, layer, ref v);
        if (RotationOf(layer) is { } rotation)
        {
            Rotate(rotation, HookKind.Q, layer, ref q);
            _hooks.Visit(HookKind.RotQ, layer, ref q);
            Rotate(rotation, HookKind.K, layer, ref k);
            _hooks.Visit(HookKind.RotK, layer, ref k);
        }

        return (q, k, v);
    }

    private Tensor Narrow(Tensor normed, Linear down, NormWeights norm, LatentAttention latent)
    {
        Tensor narrow = Project(normed, down, down.Weight.Columns);
        _device.Run(norm.Of(narrow, _description) with { Epsilon = latent.Epsilon, Out = narrow });
        return narrow;
    }

    /// <summary>[batch, positions, heads, head size]: each head's own channels, then those that all share.</summary>
    private Tensor Keys(AttentionWeights weights, LatentAttention latent, Tensor normed, Tensor keyValueInput)
    {
        (int heads, int size) = (_description.Heads, _description.HeadSize);
        int rows = _batch * _length * heads, own = size - latent.SharedSize;
        using Tensor ownChannels = Project(keyValueInput, weights.K, heads, own);
        using Tensor shared = Project(normed, weights.SharedKey!, latent.SharedSize), repeated = New(heads, latent.SharedSize);
        _device.Run(new RepeatHeads { X = shared, Out = repeated });
        Tensor k = New(heads, size);
        _device.Run(new Copy { From = ownChannels, To = new Matrix(k, 0, rows, own, size) });
        _device.Run(new Copy { From = repeated, To = new Matrix(k, own, rows, latent.SharedSize, size) });
        return k;
    }
}
