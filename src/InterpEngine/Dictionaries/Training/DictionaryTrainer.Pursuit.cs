using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>The step of matching pursuit, whose activations are differentiated along the residuals that they were chosen from.</summary>
public sealed partial class DictionaryTrainer
{
    private readonly record struct Choice(int Feature, float Value);

    private void StepOfPursuit(Batch batch)
    {
        int d = Config.InputWidth;
        List<Choice>[] choices = Pursue(batch, out float[] residuals);
        _decoder.Gradients.Clear();
        _decoder.IsFresh = false;
        Span<float> bias = _decoderBias.Gradients, gradient = _decoder.Gradients;
        ReadOnlySpan<float> decoder = _decoder.Values, target = HostMemory.Read<float>(batch.Target), input = HostMemory.Read<float>(batch.Input);
        var active = new List<int>();
        double[] g = new double[d], lambda = new double[d], residual = new double[d];
        for (int row = 0; row < batch.Rows; row++)
        {
            ReadOnlySpan<float> x = input.Slice(row * d, d), y = target.Slice(row * d, d), last = residuals.AsSpan(row * d, d);
            for (int i = 0; i < d; i++)
            {
                // x̂ = Σ v·D + bias, and what was chosen is what the centred row lost.
                double error = (double)x[i] - last[i] - y[i];
                batch.SquaredError += error * error;
                g[i] = 2 * error / batch.Rows;
                (lambda[i], residual[i]) = (0, last[i]);
            }

            for (int t = choices[row].Count - 1; t >= 0; t--)
            {
                (int f, float v) = choices[row][t];
                ReadOnlySpan<float> direction = decoder.Slice(f * d, d);
                Span<float> to = gradient.Slice(f * d, d);
                double along = 0;
                for (int i = 0; i < d; i++)
                {
                    along += (g[i] - lambda[i]) * direction[i];
                    residual[i] += v * direction[i];
                }

                for (int i = 0; i < d; i++)
                {
                    to[i] += (float)(v * (g[i] - lambda[i]) + along * residual[i]);
                    lambda[i] += along * direction[i];
                }
            }

            for (int i = 0; i < d && Config.CentersInput; i++)
            {
                bias[i] += (float)(g[i] - lambda[i]);
            }

            active.AddRange(choices[row].Select(choice => choice.Feature).Distinct());
        }

        batch.Reconstruction = batch.SquaredError / batch.Rows;
        CountSince(batch, CountActive(batch, active.ToArray(), [.. Enumerable.Repeat(1f, active.Count)]));
    }

    /// <summary>Each row's choices in their order, and what they left of it.</summary>
    private List<Choice>[] Pursue(Batch batch, out float[] residuals)
    {
        var choices = new List<Choice>[batch.Rows];
        for (int row = 0; row < choices.Length; row++)
        {
            choices[row] = [];
        }

        using Weight directions = _device.CreateWeight(Config.InputWidth, Config.Features, _options.BFloat16 ? ElementType.BF16 : ElementType.F32);
        _device.Pack(directions, new WeightBlock(
            _decoder.Value.Address, ElementType.F32, Config.InputWidth, Config.Features, 1, Config.InputWidth));
        var pursuit = new MatchingPursuit(_device, directions, _decoder.Value, Config.Rule)
        {
            Chosen = (row, feature, value) => choices[row].Add(new(feature, value)),
        };
        pursuit.Encode(batch.Input, Offset, out residuals).Dispose();
        return choices;
    }
}
