using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>
/// How good a dictionary is on stored activations, in the terms of dictionary_learning (<c>evaluation.py</c>): each figure is computed for every
/// batch and averaged over the batches.
/// </summary>
public sealed record ActivationEvaluation
{
    /// <summary>Mean ‖x − x̂‖, not squared.</summary>
    public required double L2Loss { get; init; }

    /// <summary>Mean Σ |z|.</summary>
    public required double L1Loss { get; init; }

    /// <summary>Active features of a row.</summary>
    public required double L0 { get; init; }

    /// <summary>Mean cosine of x and x̂.</summary>
    public required double Cosine { get; init; }

    /// <summary>Mean ‖x̂‖ / ‖x‖.</summary>
    public required double NormRatio { get; init; }

    /// <summary>1 − variance of the error / variance of x: the error's mean is not counted, unlike in SAELens.</summary>
    public required double VarianceExplained { get; init; }

    /// <summary>Mean ‖x̂‖² / mean x·x̂.</summary>
    public required double RelativeReconstructionBias { get; init; }

    /// <summary>Share of the features that were active in any batch.</summary>
    public required double AliveShare { get; init; }

    /// <summary>Evaluates on batches [rows, d] on the dictionary's device.</summary>
    /// <param name="dictionary">An SAE.</param>
    /// <param name="batches">Each is disposed by the caller.</param>
    /// <param name="normalize">Whether each batch is scaled to a mean norm of √d first.</param>
    /// <exception cref="DictionaryException">There is no batch, or it does not fit.</exception>
    public static ActivationEvaluation Evaluate(SparseDictionary dictionary, IEnumerable<Tensor> batches, bool normalize = false)
    {
        ArgumentNullException.ThrowIfNull(dictionary);
        ArgumentNullException.ThrowIfNull(batches);
        var use = new FeatureUse(dictionary.Config.Features);
        var all = new List<ReconstructionSums>();
        foreach (Tensor batch in batches)
        {
            using Tensor x = Splice.Scaled(batch, normalize ? NormFactor(batch) : 1);
            using Encoding encoding = dictionary.Encode(x);
            using Tensor reconstruction = dictionary.Decode(encoding);
            all.Add(new ReconstructionSums(x.ToArray<float>(), encoding.Features, reconstruction.ToArray<float>()));
            use.Add(encoding.Features, encoding.Features.Rows);
        }

        return all.Count == 0 ? throw new DictionaryException("There are no activations to evaluate on.") : new ActivationEvaluation
        {
            L2Loss = all.Average(sums => sums.ErrorNorm / sums.Rows),
            L1Loss = all.Average(sums => sums.ActiveSum / sums.Rows),
            L0 = all.Average(sums => sums.Active / sums.Rows),
            Cosine = all.Average(sums => sums.Cosine / sums.Rows),
            NormRatio = all.Average(sums => sums.NormRatio / sums.Rows),
            VarianceExplained = all.Average(sums => sums.VarianceExplained),
            RelativeReconstructionBias = all.Average(sums => sums.ReconstructionSquare / sums.Product),
            AliveShare = 1 - (double)use.Dead / dictionary.Config.Features,
        };
    }

    /// <summary>√d over the mean norm of the rows.</summary>
    internal static float NormFactor(Tensor x)
    {
        int d = x.Shape.Columns;
        float[] norms = DictionaryParameters.RowNorms(x.ToArray<float>(), checked((int)x.Shape.Rows));
        return (float)(Math.Sqrt(d) / norms.Average(norm => (double)norm));
    }
}

/// <summary>What a dictionary in the middle of a model costs, as dictionary_learning measures it: replaced at every position.</summary>
/// <param name="Original">Mean cross-entropy of the next tokens, in nats.</param>
/// <param name="Reconstructed">With the reconstruction.</param>
/// <param name="Zero">With zeros.</param>
public sealed record RecoveredLoss(double Original, double Reconstructed, double Zero)
{
    /// <summary>1 where nothing was lost, 0 where it is no better than zeros.</summary>
    public double Recovered => (Reconstructed - Zero) / (Original - Zero);

    /// <summary>Runs a batch three times.</summary>
    /// <param name="model">The model that it was trained on.</param>
    /// <param name="dictionary">On the model's device.</param>
    /// <param name="tokens">The text.</param>
    /// <param name="point">Where; null for where it was trained.</param>
    /// <param name="normalize">Whether the dictionary sees activations scaled to a mean norm of √d over the batch.</param>
    public static RecoveredLoss Measure(
        Model model, SparseDictionary dictionary, TokenBatch tokens, string? point = null, bool normalize = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(dictionary);
        var splice = new Splice(dictionary) { ReadsAt = point };
        string read = point ?? dictionary.Config.HookName ?? throw new DictionaryException("The dictionary says nowhere which point it reads.", "Name the point.");
        var loss = new RunOptions { Logits = LogitsWanted.None, Loss = true };
        using RunResult clean = model.Run(tokens, loss with { Capture = normalize ? read : HookSelection.None });
        splice = normalize ? splice with { InputScale = ActivationEvaluation.NormFactor(clean.Cache[read]) } : splice;
        using RunResult spliced = model.Run(tokens, [splice], loss);
        using RunResult zero = model.Run(tokens, loss with { Hooks = [new Hook(read, (_, value) => DictionaryEvaluator.Zeros(value))] });
        return new RecoveredLoss(clean.Loss!.Value, spliced.Loss!.Value, zero.Loss!.Value);
    }
}
