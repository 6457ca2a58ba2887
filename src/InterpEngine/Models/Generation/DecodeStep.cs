using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// The step of a generation, one token for each sequence, recorded once: only what <see cref="TokenInputs"/> holds differs from step to
/// step. The values are those of any other run.
/// </summary>
internal sealed class DecodeStep : IDisposable
{
    private readonly Device _device;
    private readonly KeyValueCache _cache;
    private readonly TokenInputs _inputs;
    private readonly Recording _recording;
    private readonly int _top;

    /// <param name="device">Where the model runs.</param>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights, which may be recorded.</param>
    /// <param name="rotary">Its rotary tables, if any.</param>
    /// <param name="localRotary">Those of blocks with a window, if they differ.</param>
    /// <param name="points">Its hook points.</param>
    /// <param name="cache">What came before; the step appends to it.</param>
    /// <param name="first">The first tokens, one for each sequence.</param>
    /// <param name="top">How many of the likeliest tokens are asked for.</param>
    public DecodeStep(
        Device device, ModelDescription description, ModelWeights weights, RotaryTables? rotary, RotaryTables? localRotary,
        HookRegistry points, KeyValueCache cache, TokenBatch first, int top)
    {
        (_device, _cache, _top) = (device, cache, top);
        _inputs = new TokenInputs(device, description, rotary, localRotary, first, cache, forSteps: true);
        try
        {
            _recording = device.Record(_inputs.All, () =>
            {
                using var session = new HookSession(points, description.Layers, HookSelection.None, [], null, false);
                using var pass = new ForwardPass(device, description, weights, first, _inputs, cache, session, default);
                (Tensor logits, Tensor ids, Tensor logProbabilities) = pass.Predict(pass.Blocks(pass.Embed(), 0, description.Layers), top);
                return [logits, ids, logProbabilities];
            });
        }
        catch
        {
            _inputs.Dispose();
            throw;
        }
    }

    /// <summary>What the model predicts after the next tokens.</summary>
    public Predictions Run(TokenBatch tokens)
    {
        _recording.Run(_inputs.For(tokens));
        _cache.Advance(tokens, _inputs.RotaryKeys);
        LogitReader read = LogitReader.Of(
            _device, tokens.Batch, _top, _recording.Output<int>(1), _recording.Output<float>(0), _recording.Output<float>(2));
        return new Predictions(read, tokens.Batch, 1, (_, _) => true);
    }

    public void Dispose()
    {
        _recording.Dispose();
        _inputs.Dispose();
    }
}
