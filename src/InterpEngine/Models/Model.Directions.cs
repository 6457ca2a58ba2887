using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine;

/// <summary>Directions of the residual stream, read from the weights.</summary>
public sealed partial class Model
{
    /// <summary>For what takes a run apart by the weights that made it.</summary>
    internal ModelWeights Weights => _weights;

    /// <summary>
    /// Columns of the unembedding: the directions whose products with the final norm's output are these tokens' logits.
    /// </summary>
    /// <param name="tokens">Token ids.</param>
    /// <returns>F32 [tokens, d] on the model's device.</returns>
    /// <exception cref="ModelException">An id does not lie in the vocabulary.</exception>
    public Tensor UnembedDirections(params ReadOnlySpan<int> tokens)
    {
        CheckTokens(tokens);
        using Tensor ids = Device.Upload(tokens, tokens.Length);
        Tensor result = Device.Allocate(ElementType.F32, tokens.Length, Description.Width);
        Device.Run(new Embed { Ids = ids, Table = _weights.Unembed.Weight, Out = result });
        return result;
    }

    /// <summary>The mean of all columns of the unembedding: what it gives every token alike, which no softmax sees.</summary>
    /// <returns>F32 [1, d] on the model's device.</returns>
    public Tensor MeanUnembedDirection()
    {
        int vocabulary = Description.Vocabulary;
        using Tensor mean = Device.Allocate(ElementType.F32, 1, vocabulary);
        Device.Run(new Fill { Out = mean, Value = 1f / vocabulary });
        Tensor result = Device.Allocate(ElementType.F32, 1, Description.Width);
        Device.Run(new MatMulTransposed { X = mean, W = _weights.Unembed.Weight, Out = result });
        return result;
    }

    /// <exception cref="ModelException">An id does not lie in the vocabulary.</exception>
    internal void CheckTokens(ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)Description.Vocabulary)
            {
                throw new ModelException(
                    $"There is no token {token}: the model's vocabulary has {Description.Vocabulary} tokens.");
            }
        }
    }
}
