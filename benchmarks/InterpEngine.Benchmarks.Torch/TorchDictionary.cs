using InterpEngine.Dictionaries;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>
/// A TopK dictionary as today's trainers step it on libtorch: dense pre-activations, autograd, gradients clipped to norm 1, Adam. Its encoder
/// is [features, inputs], which libtorch's linear layer likes best.
/// </summary>
internal sealed class TorchDictionary : IDisposable
{
    private readonly Parameter _encoder, _encoderBias, _decoder, _decoderBias;
    private readonly optim.Optimizer _adam;
    private readonly int _k;

    public TorchDictionary(DictionaryConfig config, DictionaryParameters parameters, double rate, ScalarType type)
    {
        Parameter Of(float[] values, params long[] shape)
        {
            using torch.Tensor stored = tensor(values, shape);
            return new Parameter(stored.to(type));
        }

        _encoder = Of(parameters.Encoder, config.Features, config.InputWidth);
        _encoderBias = Of(parameters.EncoderBias, config.Features);
        _decoder = Of(parameters.Decoder, config.Features, config.OutputWidth);
        _decoderBias = Of(parameters.DecoderBias, config.OutputWidth);
        _adam = optim.Adam(Parameters, rate);
        _k = (int)config.Rule.K;
    }

    private Parameter[] Parameters => [_encoder, _encoderBias, _decoder, _decoderBias];

    /// <summary>One step on rows of its own type.</summary>
    /// <returns>The loss, which it waits for, as trainers do that show it.</returns>
    public float Step(torch.Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        torch.Tensor reconstruction = matmul(Encode(x), _decoder) + _decoderBias;
        torch.Tensor loss = (reconstruction - x).pow(2).sum(-1).mean();
        _adam.zero_grad();
        loss.backward();
        nn.utils.clip_grad_norm_(Parameters, 1);
        _adam.step();
        return loss.to(ScalarType.Float32).item<float>();
    }

    /// <summary>The product and the k largest of each row, as they come.</summary>
    public void EncodeOnly(torch.Tensor x)
    {
        using IDisposable mode = inference_mode(true);
        using DisposeScope scope = NewDisposeScope();
        TopK(x);
    }

    public void Dispose()
    {
        _adam.Dispose();
        foreach (Parameter parameter in Parameters)
        {
            parameter.Dispose();
        }
    }

    private (torch.Tensor Values, torch.Tensor Indices) TopK(torch.Tensor x) =>
        F.linear(x - _decoderBias, _encoder, _encoderBias).topk(_k, -1, sorted: false);

    private torch.Tensor Encode(torch.Tensor x)
    {
        (torch.Tensor values, torch.Tensor indices) = TopK(x);
        return zeros([x.shape[0], _encoder.shape[0]], x.dtype).scatter(-1, indices, F.relu(values));
    }
}
