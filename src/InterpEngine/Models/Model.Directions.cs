using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine;

/// <summary>Directions of the residual stream, read from the weights.</summary>
public sealed partial class Model
{
    /// <summary>For what takes a run apart by the weights that made it.</summary>
    internal ModelWeights Weights => _weights;

    /// <summary>
    /// Columns of the unembedding: the directions whose products with the final norm's output are these tokens' logits, before any
    /// soft cap.
    /// </summary>
    /// <param name="tokens">Token ids.</param>
    /// <returns>F32 [tokens, d] on the model's device.</returns>
    /// <exception cref="ModelException">An id does not lie in the vocabulary.</exception>
    public Tensor UnembedDirections(params ReadOnlySpan<int> tokens)
    {
        CheckTokens(tokens);
        using Tensor ids = Device.Upload(tokens, tokens.Length);
        Tensor columns = Device.Allocate(ElementType.F32, tokens.Length, Description.EmbeddingWidth);
        Device.Run(new Embed { Ids = ids, Table = _weights.Unembed.Weight, Out = columns });
        return AtFinalNorm(columns);
    }

    /// <summary>The mean of all columns of the unembedding: what it gives every token alike, which no softmax sees.</summary>
    /// <returns>F32 [1, d] on the model's device.</returns>
    public Tensor MeanUnembedDirection()
    {
        int vocabulary = Description.Vocabulary;
        using Tensor mean = Device.Allocate(ElementType.F32, 1, vocabulary);
        Device.Run(new Fill { Out = mean, Value = 1f / vocabulary });
        Tensor result = Device.Allocate(ElementType.F32, 1, Description.EmbeddingWidth);
        Device.Run(new MatMulTransposed { X = mean, W = _weights.Unembed.Weight, Out = result });
        return AtFinalNorm(result);
    }

    /// <summary>Directions as the final norm's output meets them: before the unembedding's projection, with the logits' scale.</summary>
    private Tensor AtFinalNorm(Tensor directions)
    {
        if (Description.LogitScale != 1)
        {
            Device.Run(new Map { X = directions, Kind = MapKind.Scale, Parameter = Description.LogitScale, Out = directions });
        }

        if (_weights.UnembeddingProjection is not { } projection)
        {
            return directions;
        }

        using (directions)
        {
            Tensor wide = Device.Allocate(ElementType.F32, directions.Shape[0], Description.Width);
            Device.Run(new MatMulTransposed { X = directions, W = projection.Weight, Out = wide });
            return wide;
        }
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
