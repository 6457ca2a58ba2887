using static TorchSharp.Modules.GELU;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>GPT-2 by libtorch's own ops, as a Python stack runs it: one projection for q, k and v, fused layer norm and attention.</summary>
internal sealed class TorchGpt2(string folder, ScalarType type = ScalarType.Float32) : TorchModel(folder, "transformer.", type)
{
    protected override Tensor Blocks(Tensor ids)
    {
        using Tensor positions = arange(Past, Past + ids.shape[1]);
        Tensor residual = Keep(Embed(ids, "wte.weight")) + Keep(Embed(positions, "wpe.weight"));
        for (int layer = 0; layer < Layers; layer++)
        {
            string block = $"h.{layer}.";
            Keep(residual);
            Tensor[] qkv = Linear(Norm(residual, block + "ln_1"), block + "attn.c_attn").split(Description.Width, 2);
            Tensor z = Attend(
                layer, Keep(Heads(qkv[0], Description.Heads)), Keep(Heads(qkv[1], Description.Heads)), Keep(Heads(qkv[2], Description.Heads)));
            residual = Keep(residual + Keep(Linear(z, block + "attn.c_proj")));
            Tensor pre = Keep(Linear(Norm(residual, block + "ln_2"), block + "mlp.c_fc"));
            Tensor post = Keep(F.gelu(pre, Approximate.tanh));
            residual = Keep(residual + Keep(Linear(post, block + "mlp.c_proj")));
        }

        return residual;
    }

    protected override Tensor Unembed(Tensor residual) => F.linear(Norm(residual, "ln_f"), Weight("wte.weight"));

    /// <summary>The fused norm; step by step where scale and normalized values are kept.</summary>
    private Tensor Norm(Tensor x, string name)
    {
        Tensor gain = Weight(name + ".weight"), bias = Weight(name + ".bias");
        if (Kept is null)
        {
            return F.layer_norm(x, [Description.Width], gain, bias, Description.Epsilon);
        }

        Tensor centred = x - x.mean([-1], keepdim: true);
        Tensor scale = Keep((centred.pow(2).mean([-1], keepdim: true) + Description.Epsilon).sqrt());
        return Keep(centred / scale) * gain + bias;
    }
}
