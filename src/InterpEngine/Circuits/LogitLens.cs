using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Circuits;

/// <summary>
/// The logit lens: what a residual stream would predict if the model ended there. The final norm, with its statistics taken anew,
/// and the unembedding turn each vector into a distribution over the vocabulary.
/// </summary>
public static class LogitLens
{
    /// <summary>Logits held at a time: nobody needs [layers, positions, vocabulary] at once.</summary>
    private const int LogitsAtOnce = 1 << 24;

    /// <summary>Reads predictions off a residual stream.</summary>
    /// <param name="model">The model whose stream it is.</param>
    /// <param name="residual">F32 [.., d]: a captured residual stream or any vectors that could stand there.</param>
    /// <param name="top">How many of the likeliest tokens to give.</param>
    /// <param name="tokens">Tokens whose probabilities to give as well.</param>
    /// <exception cref="ModelException">The tensor does not have the model's width, or <paramref name="top"/> or a token does not
    /// lie in the vocabulary.</exception>
    public static LensReading Read(Model model, Tensor residual, int top, params ReadOnlySpan<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(residual);
        Check(model.Description, residual, top);
        model.CheckTokens(tokens);
        int rows = checked((int)residual.Shape.Rows), width = model.Description.Width, vocabulary = model.Description.Vocabulary;
        var reading = new LensReading(new int[rows, top], new float[rows, top], new float[rows, tokens.Length]);
        using Tensor all = residual.Reshape(rows, width);
        int step = Math.Clamp(LogitsAtOnce / vocabulary, 1, rows);
        for (int start = 0; start < rows; start += step)
        {
            using Tensor part = all.Slice(start, Math.Min(step, rows - start));
            Read(model, part, start, tokens, reading);
        }

        return reading;
    }

    private static void Read(Model model, Tensor residual, int start, ReadOnlySpan<int> tokens, LensReading reading)
    {
        Device device = model.Device;
        int rows = residual.Shape[0], top = reading.Top.GetLength(1);
        using Tensor logits = Logits(model, residual);
        using Tensor log = device.Allocate(ElementType.F32, rows);
        for (int i = 0; i < tokens.Length; i++)
        {
            var wanted = new int[rows];
            wanted.AsSpan().Fill(tokens[i]);
            using Tensor targets = device.Upload<int>(wanted, rows);
            device.Run(new LogProbability { X = logits, Targets = targets, Out = log });
            float[] values = log.ToArray<float>();
            for (int row = 0; row < rows; row++)
            {
                reading.Probabilities[start + row, i] = MathF.Exp(values[row]);
            }
        }

        using Tensor best = device.Allocate(ElementType.F32, rows, top), indices = device.Allocate(ElementType.I32, rows, top);
        device.Run(new LogSoftmax { X = logits, Out = logits });
        device.Run(new TopK { X = logits, Values = best, Indices = indices });
        float[] bestValues = best.ToArray<float>();
        int[] bestTokens = indices.ToArray<int>();
        for (int i = 0; i < bestTokens.Length; i++)
        {
            (int row, int rank) = Math.DivRem(i, top);
            reading.Top[start + row, rank] = bestTokens[i];
            reading.TopProbabilities[start + row, rank] = MathF.Exp(bestValues[i]);
        }
    }

    private static Tensor Logits(Model model, Tensor residual)
    {
        using Tensor normed = model.Device.Allocate(ElementType.F32, residual.Shape);
        model.Device.Run(model.Weights.LnFinal.Of(residual, model.Description) with { Out = normed });
        return model.Weights.Logits(normed);
    }

    private static void Check(ModelDescription description, Tensor residual, int top)
    {
        if (residual.Type != ElementType.F32 || residual.Shape.Rank == 0 || residual.Shape.Columns != description.Width)
        {
            throw new ModelException($"The lens was given {residual}; expected F32 [.., {description.Width}].");
        }

        if (top < 1 || top > description.Vocabulary)
        {
            throw new ModelException($"The lens was asked for the top {top} tokens of a vocabulary of {description.Vocabulary}.");
        }
    }
}

/// <summary>What the lens saw, a row for each vector of the stream in its order.</summary>
/// <param name="Top">[rows, top]: the likeliest tokens, likeliest first; of equal ones the lower id first.</param>
/// <param name="TopProbabilities">[rows, top]: their probabilities.</param>
/// <param name="Probabilities">[rows, tokens]: the probabilities of the tokens that were asked about.</param>
public sealed record LensReading(int[,] Top, float[,] TopProbabilities, float[,] Probabilities);
