using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Circuits;

/// <summary>
/// The logit lens: what a residual stream would predict if the model ended there. The final norm, with its statistics taken anew,
/// and the unembedding turn each vector into a distribution over the vocabulary.
/// </summary>
public static class LogitLens
{
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
        using Tensor all = residual.Reshape(rows, width);
        LogitReader reader = LogitReader.Read(model.Device, rows, vocabulary, Part, top, tokens.ToArray());
        return new LensReading(reader.Top, Exponentials(reader.TopLogProbabilities), Exponentials(reader.LogProbabilities));

        Tensor Part(int start, int count)
        {
            using Tensor part = all.Slice(start, count);
            return Logits(model, part);
        }
    }

    private static float[,] Exponentials(float[,] values)
    {
        for (int row = 0; row < values.GetLength(0); row++)
        {
            for (int i = 0; i < values.GetLength(1); i++)
            {
                values[row, i] = MathF.Exp(values[row, i]);
            }
        }

        return values;
    }

    private static Tensor Logits(Model model, Tensor residual)
    {
        using Tensor head = model.Weights.HeadOf(residual, model.Description);
        if (model.Weights.LnFinal is not { } norm)
        {
            return model.Weights.Logits(head, model.Description);
        }

        using Tensor normed = model.Device.Allocate(ElementType.F32, head.Shape);
        model.Device.Run(norm.Of(head, model.Description) with { Out = normed });
        return model.Weights.Logits(normed, model.Description);
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
