using InterpEngine.Formats;
using InterpEngine.Models;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>What both libtorch models share: weights by name, attention, the cache of keys and values.</summary>
internal abstract class TorchModel : IDisposable
{
    private readonly Dictionary<string, Tensor> _weights = [];

    protected TorchModel(string folder, string prefix, ScalarType type)
    {
        Description = Model.ReadDescription(folder);
        using Checkpoint checkpoint = Checkpoint.Open(folder);
        foreach ((string name, SafetensorsEntry entry) in checkpoint.Tensors)
        {
            using Tensor stored = tensor(entry.ToSingles(), entry.Shape.ToArray());
            string key = name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name;

            // Conv1D keeps [inputs, outputs]; libtorch's linear layer is faster on [outputs, inputs].
            bool transposed = key.Contains(".c_", StringComparison.Ordinal) && entry.Shape.Length == 2;
            using Tensor oriented = transposed ? stored.t().contiguous() : stored.alias();
            _weights[key] = oriented.to(type, copy: true).DetachFromDisposeScope();
        }

        (Type, Layers) = (type, Description.Layers);
    }

    public ModelDescription Description { get; }

    /// <summary>Blocks that a run goes through; all unless told.</summary>
    public int Layers { get; set; }

    protected ScalarType Type { get; }

    /// <summary>Where eager runs leave every point; null to use fused ops and keep nothing.</summary>
    public List<Tensor>? Kept { get; set; }

    /// <summary>Keys and values [batch, heads, capacity, size] of each layer; null to run without a cache.</summary>
    public (Tensor Keys, Tensor Values)[]? Cache { get; set; }

    /// <summary>Tokens in the cache.</summary>
    public int Past { get; set; }

    /// <summary>Logits [batch, positions, vocabulary], of the last position alone, or the residual stream where none are wanted.</summary>
    public Tensor Run(Tensor ids, LogitsWanted wanted)
    {
        using IDisposable mode = inference_mode(true);
        using DisposeScope scope = NewDisposeScope();
        Tensor residual = Blocks(ids);
        Past += Cache is null ? 0 : (int)ids.shape[1];
        if (wanted == LogitsWanted.Last)
        {
            residual = residual.narrow(1, residual.shape[1] - 1, 1);
        }

        return (wanted == LogitsWanted.None ? residual : Unembed(residual)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (Tensor weight in _weights.Values)
        {
            weight.Dispose();
        }
    }

    /// <summary>Runs the blocks.</summary>
    protected abstract Tensor Blocks(Tensor ids);

    protected abstract Tensor Unembed(Tensor residual);

    protected Tensor Weight(string name) => _weights[name];

    protected Tensor Linear(Tensor x, string name) => F.linear(x, _weights[name + ".weight"], _weights.GetValueOrDefault(name + ".bias"));

    protected Tensor Embed(Tensor ids, string table) =>
        _weights[table].index_select(0, ids.flatten()).view([.. ids.shape, Description.Width]);

    /// <summary>Remembers a point, if an eager run asks for them.</summary>
    protected Tensor Keep(Tensor point)
    {
        Kept?.Add(point);
        return point;
    }

    /// <summary>[batch, positions, heads × size] to [batch, heads, positions, size].</summary>
    protected Tensor Heads(Tensor x, int heads) => x.view(x.shape[0], x.shape[1], heads, Description.HeadSize).transpose(1, 2);

    /// <summary>Fused attention, or scores and pattern by themselves where they are kept.</summary>
    protected Tensor Attend(int layer, Tensor q, Tensor k, Tensor v)
    {
        bool first = Past == 0;
        if (Cache is { } cache)
        {
            long length = q.shape[2];
            cache[layer].Keys.narrow(2, Past, length).copy_(k);
            cache[layer].Values.narrow(2, Past, length).copy_(v);
            (k, v) = (cache[layer].Keys.narrow(2, 0, Past + length), cache[layer].Values.narrow(2, 0, Past + length));
        }

        int groups = Description.Heads / Description.KeyValueHeads;
        if (groups > 1)
        {
            (k, v) = (k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1));
        }

        Tensor z;
        if (Kept is null)
        {
            z = F.scaled_dot_product_attention(q, k, v, is_casual: first);
        }
        else
        {
            using Tensor mask = ones(q.shape[2], k.shape[2], ScalarType.Bool).triu(1);
            Tensor scores = Keep(matmul(q, k.transpose(2, 3)).mul_(1 / Math.Sqrt(Description.HeadSize)).masked_fill_(mask, float.NegativeInfinity));
            z = matmul(Keep(scores.softmax(-1)), v);
        }

        return Keep(z.transpose(1, 2)).reshape(q.shape[0], q.shape[2], Description.Heads * Description.HeadSize);
    }

    /// <summary>Allocates an empty cache.</summary>
    public void CreateCache(int batch, int capacity)
    {
        long[] shape = [batch, Description.KeyValueHeads, capacity, Description.HeadSize];
        Cache = [.. Enumerable.Range(0, Description.Layers).Select(_ => (zeros(shape, Type), zeros(shape, Type)))];
        Past = 0;
    }
}
