using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>How a model is kept on its device.</summary>
public sealed record LoadOptions
{
    /// <summary>Other weights of the same function, as TransformerLens makes them; none unless set.</summary>
    public WeightProcessing Processing { get; init; }

    /// <summary>
    /// How weight matrices are kept: F32 (exactly, whatever the checkpoint's type), BF16 (half the memory, faster; what a product
    /// multiplies by is rounded to BF16 too), or I8 (0.28 of the memory; see <see cref="Weight"/>). With I8, embeddings and unembedding
    /// stay BF16. Biases, norms and all activations are F32.
    /// </summary>
    public ElementType WeightType { get; init; } = ElementType.F32;

    internal ElementType TypeOf(Parameter parameter) =>
        WeightType == ElementType.I8
        && parameter is (Parameter.TokenEmbedding or Parameter.PositionEmbedding or Parameter.TokenTypeEmbedding or Parameter.UnembedWeight)
            ? ElementType.BF16
            : WeightType;
}
