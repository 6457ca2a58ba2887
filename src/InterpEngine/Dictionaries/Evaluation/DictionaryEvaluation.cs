using System.Text.Json.Nodes;

namespace InterpEngine.Dictionaries;

/// <summary>How good a dictionary is, in SAELens's terms (<c>sae_lens/evals.py</c>). Losses are in nats.</summary>
public sealed record DictionaryEvaluation
{
    /// <summary>Mean KL divergence of the predictions with the dictionary in the model from those without.</summary>
    public required double KlWithSae { get; init; }

    /// <summary>The same with zeros in the place of the activation.</summary>
    public required double KlWithAblation { get; init; }

    /// <summary>Mean cross-entropy of the next tokens without the dictionary.</summary>
    public required double LossWithoutSae { get; init; }

    /// <summary>With it.</summary>
    public required double LossWithSae { get; init; }

    /// <summary>With zeros.</summary>
    public required double LossWithAblation { get; init; }

    /// <summary>Mean ‖x‖.</summary>
    public required double NormIn { get; init; }

    /// <summary>Mean ‖x̂‖.</summary>
    public required double NormOut { get; init; }

    /// <summary>Mean ‖x̂‖ / ‖x‖.</summary>
    public required double NormRatio { get; init; }

    /// <summary>‖x̂‖² over x·x̂, the mean over batches: below 1 where reconstructions are too short.</summary>
    public required double RelativeReconstructionBias { get; init; }

    /// <summary>Active features of a token.</summary>
    public required double L0 { get; init; }

    /// <summary>Σ |z| of a token.</summary>
    public required double L1 { get; init; }

    /// <summary>Mean ‖x − x̂‖².</summary>
    public required double MeanSquaredError { get; init; }

    /// <summary>1 − Σ ‖x − x̂‖² / Σ ‖x − mean‖².</summary>
    public required double ExplainedVariance { get; init; }

    /// <summary>The mean over tokens of 1 − ‖x − x̂‖² / ‖x − mean of the batch‖².</summary>
    public required double ExplainedVarianceLegacy { get; init; }

    /// <summary>Mean cosine of x and x̂.</summary>
    public required double Cosine { get; init; }

    /// <summary>All tokens, those that do not count included.</summary>
    public required long Tokens { get; init; }

    /// <summary>How often each feature was active.</summary>
    public required FeatureUse Use { get; init; }

    /// <summary>(ablation − sae) / ablation of the divergences: 1 where nothing was lost.</summary>
    public double KlScore => (KlWithAblation - KlWithSae) / KlWithAblation;

    /// <summary>(ablation − sae) / (ablation − without) of the losses: the loss recovered.</summary>
    public double LossScore => (LossWithAblation - LossWithSae) / (LossWithAblation - LossWithoutSae);

    /// <summary>SAELens's nested result, under its names.</summary>
    public JsonObject ToJson() => new()
    {
        ["model_behavior_preservation"] = new JsonObject
        {
            ["kl_div_score"] = Number(KlScore),
            ["kl_div_with_ablation"] = Number(KlWithAblation),
            ["kl_div_with_sae"] = Number(KlWithSae),
        },
        ["model_performance_preservation"] = new JsonObject
        {
            ["ce_loss_score"] = Number(LossScore),
            ["ce_loss_with_ablation"] = Number(LossWithAblation),
            ["ce_loss_with_sae"] = Number(LossWithSae),
            ["ce_loss_without_sae"] = Number(LossWithoutSae),
        },
        ["reconstruction_quality"] = new JsonObject
        {
            ["cossim"] = Number(Cosine),
            ["explained_variance"] = Number(ExplainedVariance),
            ["explained_variance_legacy"] = Number(ExplainedVarianceLegacy),
            ["mse"] = Number(MeanSquaredError),
        },
        ["shrinkage"] = new JsonObject
        {
            ["l2_norm_in"] = Number(NormIn),
            ["l2_norm_out"] = Number(NormOut),
            ["l2_ratio"] = Number(NormRatio),
            ["relative_reconstruction_bias"] = Number(RelativeReconstructionBias),
        },
        ["sparsity"] = new JsonObject
        {
            ["l0"] = Number(L0),
            ["l1"] = Number(L1),
        },
        ["token_stats"] = new JsonObject
        {
            ["total_tokens_eval_reconstruction"] = Tokens,
            ["total_tokens_eval_sparsity_variance"] = Tokens,
        },
    };

    /// <summary>JSON has no NaN and no infinity.</summary>
    private static JsonValue? Number(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;
}
