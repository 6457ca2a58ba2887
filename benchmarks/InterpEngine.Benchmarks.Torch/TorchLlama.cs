using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Llama by libtorch's own ops, as a Python stack runs it.</summary>
internal sealed class TorchLlama(string folder, ScalarType type = ScalarType.Float32) : TorchModel(folder, "model.", type)
{
    private const double RotaryBase = 10000;

    protected override Tensor Blocks(Tensor ids)
    {
        (Tensor cos, Tensor sin) = Angles(ids.shape[1]);
        Tensor residual = Keep(Embed(ids, "embed_tokens.weight"));
        for (int layer = 0; layer < Layers; layer++)
        {
            string block = $"layers.{layer}.";
            Keep(residual);
            Tensor normed = Norm(residual, block + "input_layernorm.weight");
            Tensor q = Keep(Heads(Linear(normed, block + "self_attn.q_proj"), Description.Heads));
            Tensor k = Keep(Heads(Linear(normed, block + "self_attn.k_proj"), Description.KeyValueHeads));
            Tensor v = Keep(Heads(Linear(normed, block + "self_attn.v_proj"), Description.KeyValueHeads));
            Tensor z = Attend(layer, Keep(Rotate(q, cos, sin)), Keep(Rotate(k, cos, sin)), v);
            residual = Keep(residual + Keep(Linear(z, block + "self_attn.o_proj")));
            normed = Norm(residual, block + "post_attention_layernorm.weight");
            Tensor gate = Keep(Linear(normed, block + "mlp.gate_proj")), up = Keep(Linear(normed, block + "mlp.up_proj"));
            residual = Keep(residual + Keep(Linear(Keep(F.silu(gate) * up), block + "mlp.down_proj")));
        }

        return residual;
    }

    protected override Tensor Unembed(Tensor residual) => F.linear(Norm(residual, "norm.weight"), Weight("embed_tokens.weight"));

    private Tensor Norm(Tensor x, string name)
    {
        Tensor scale = Keep((x.pow(2).mean([-1], keepdim: true) + Description.Epsilon).sqrt());
        return Keep(x / scale) * Weight(name);
    }

    private (Tensor Cos, Tensor Sin) Angles(long length)
    {
        int size = Description.HeadSize;
        float[] frequencies = [.. Enumerable.Range(0, size / 2).Select(i => (float)Math.Pow(RotaryBase, -2.0 * i / size))];
        Tensor angles = arange(Past, Past + length, ScalarType.Float32).unsqueeze(1) * tensor(frequencies);
        angles = cat([angles, angles], 1);
        return (angles.cos().to(Type), angles.sin().to(Type));
    }

    private static Tensor Rotate(Tensor x, Tensor cos, Tensor sin)
    {
        Tensor[] halves = x.split(x.shape[3] / 2, 3);
        return x * cos + cat([-halves[1], halves[0]], 3) * sin;
    }
}
