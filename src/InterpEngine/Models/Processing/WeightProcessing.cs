using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// TransformerLens's weight processing: other weights of the same function, easier to read. The steps are applied in this order. All
/// keep the probabilities; centring the unembedding moves all logits of a position alike.
/// </summary>
[Flags]
public enum WeightProcessing
{
    /// <summary>The weights as the checkpoint holds them.</summary>
    None = 0,

    /// <summary>
    /// <c>fold_ln</c>: gain and bias of the norms before attention, MLP and unembedding go into the matrices that read them. Those that
    /// read a layer norm are also centred over the residual stream, which that norm's own centring had made idle.
    /// </summary>
    FoldLayerNorm = 1,

    /// <summary><c>center_writing_weights</c>: what writes to the residual stream writes vectors of mean zero. Layer norms only.</summary>
    CenterWritingWeights = 2,

    /// <summary><c>center_unembed</c>: the logits' mean over the vocabulary is taken off.</summary>
    CenterUnembed = 4,

    /// <summary><c>fold_value_biases</c>: value biases go into the output projection's, since the pattern's rows sum to one.</summary>
    FoldValueBiases = 8,

    /// <summary>
    /// <c>refactor_factored_attn_matrices</c>: each head's query and key matrices become the singular vectors of their product, each
    /// times √(singular value); of value and output matrices the values hold the singular values. Folds the value biases too.
    /// </summary>
    RefactorFactoredAttention = 16,
}

/// <summary>Names of processing steps, and which a model allows.</summary>
public static class WeightProcessingSteps
{
    /// <summary>Every step under TransformerLens's name, in the order in which they are applied.</summary>
    public static IReadOnlyList<(string Name, WeightProcessing Step)> All { get; } =
    [
        ("fold_ln", WeightProcessing.FoldLayerNorm),
        ("center_writing_weights", WeightProcessing.CenterWritingWeights),
        ("center_unembed", WeightProcessing.CenterUnembed),
        ("fold_value_biases", WeightProcessing.FoldValueBiases),
        ("refactor_factored_attn_matrices", WeightProcessing.RefactorFactoredAttention),
    ];

    /// <summary>What TransformerLens does unless told otherwise: all steps but the last, those left out that the model does not allow.</summary>
    public static WeightProcessing Default(ModelDescription model) => All
        .Where(entry => entry.Step != WeightProcessing.RefactorFactoredAttention && WhyNot(model, entry.Step) is null)
        .Aggregate(WeightProcessing.None, (steps, entry) => steps | entry.Step);

    /// <summary>Why a model does not allow a step; null where it does.</summary>
    public static string? WhyNot(ModelDescription model, WeightProcessing step)
    {
        ArgumentNullException.ThrowIfNull(model);
        return step switch
        {
            WeightProcessing.FoldLayerNorm when model.Norms is NormPlacement.After or NormPlacement.OnResidual =>
                "its norms stand after attention and MLP, where no one matrix reads them",
            WeightProcessing.FoldLayerNorm when model.Experts is not null =>
                "a router and experts read the norm before the MLP, which TransformerLens does not fold either",
            WeightProcessing.FoldLayerNorm when model.Latent is not null =>
                "queries, keys and values are projected twice, with another norm between",
            WeightProcessing.FoldLayerNorm or WeightProcessing.CenterWritingWeights when model.EmbeddingWidth != model.Width =>
                "projections lead from the embedding to the residual stream and back",
            WeightProcessing.CenterWritingWeights when model.Norm != NormKind.Layer =>
                "an RMS norm does not centre what it reads, so that the mean of the residual stream matters",
            WeightProcessing.CenterWritingWeights when model.Norms != NormPlacement.Before || !model.FinalNorm =>
                "something reads the residual stream without a norm before it, so that its mean matters",
            WeightProcessing.CenterUnembed when model.LogitSoftCap > 0 =>
                "logits are capped, so that moving all of them alike changes the probabilities",
            WeightProcessing.FoldValueBiases or WeightProcessing.RefactorFactoredAttention when model.AttentionSinks =>
                "a sink takes a share of each row of the pattern, so that the rest does not sum to one",
            WeightProcessing.FoldValueBiases or WeightProcessing.RefactorFactoredAttention when model.QueryKeyValueLimit > 0 =>
                "queries, keys and values are clamped after their biases",
            WeightProcessing.RefactorFactoredAttention when model.Positions is RotaryPositions =>
                "queries and keys are rotated before they meet, so that their matrices have no one product",
            WeightProcessing.RefactorFactoredAttention when model.QueryKeyNorm != QueryKeyNorm.None =>
                "queries and keys are normalised before they meet, so that their matrices have no one product",
            WeightProcessing.RefactorFactoredAttention when model.KeyValueHeads != model.Heads =>
                "several query heads share keys and values, which cannot be factored for each of them",
            _ => null,
        };
    }

    /// <exception cref="ModelException">The model does not allow one of the steps.</exception>
    internal static void Check(ModelDescription model, WeightProcessing steps)
    {
        foreach ((string name, WeightProcessing step) in All)
        {
            if (steps.HasFlag(step) && WhyNot(model, step) is { } reason)
            {
                throw new ModelException(
                    $"The weights of this model ({model.Family}) do not allow {name}: {reason}.",
                    "Leave this step out; WeightProcessingSteps.Default gives those that are allowed.");
            }
        }
    }
}
