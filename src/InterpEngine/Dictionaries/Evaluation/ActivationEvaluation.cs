using System.Text.Json.Nodes;
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
        ArgumentNullException.ThrowIfNull(batches);
        var evaluator = new ActivationEvaluator(dictionary, normalize);
        foreach (Tensor batch in batches)
        {
            evaluator.Add(batch);
        }

        return evaluator.Result();
    }

    /// <summary>dictionary_learning's result, under its names.</summary>
    public JsonObject ToJson() => new()
    {
        ["l2_loss"] = L2Loss,
        ["l1_loss"] = L1Loss,
        ["l0"] = L0,
        ["cossim"] = Finite(Cosine),
        ["l2_ratio"] = Finite(NormRatio),
        ["frac_variance_explained"] = Finite(VarianceExplained),
        ["relative_reconstruction_bias"] = Finite(RelativeReconstructionBias),
        ["frac_alive"] = AliveShare,
    };

    /// <summary>JSON has no NaN and no infinity.</summary>
    private static JsonValue? Finite(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;

    /// <summary>√d over the mean norm of the rows.</summary>
    internal static float NormFactor(Tensor x)
    {
        int d = x.Shape.Columns;
        float[] norms = DictionaryParameters.RowNorms(x.ToArray<float>(), checked((int)x.Shape.Rows));
        return (float)(Math.Sqrt(d) / norms.Average(norm => (double)norm));
    }
}

/// <summary>Evaluates a dictionary on activations, batch by batch: <see cref="ActivationEvaluation"/>.</summary>
public sealed class ActivationEvaluator
{
    private readonly SparseDictionary _dictionary;
    private readonly bool _normalize;
    private readonly List<ReconstructionSums> _sums = [];

    /// <param name="dictionary">An SAE.</param>
    /// <param name="normalize">Whether each batch is scaled to a mean norm of √d first.</param>
    /// <exception cref="DictionaryException">It is a transcoder, which does not reconstruct what it reads.</exception>
    public ActivationEvaluator(SparseDictionary dictionary, bool normalize = false)
    {
        ArgumentNullException.ThrowIfNull(dictionary);
        if (dictionary.Config.IsTranscoder)
        {
            throw new DictionaryException("A transcoder does not reconstruct what it reads, so that activations alone do not judge it.");
        }

        (_dictionary, _normalize, Use) = (dictionary, normalize, new FeatureUse(dictionary.Config.Features));
    }

    /// <summary>How often each feature was active.</summary>
    public FeatureUse Use { get; }

    /// <summary>Evaluates on a batch [.., d] on the dictionary's device. It stays the caller's.</summary>
    /// <exception cref="DictionaryException">It does not fit.</exception>
    public void Add(Tensor batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using Tensor x = Splice.Scaled(batch, _normalize ? ActivationEvaluation.NormFactor(batch) : 1);
        using Encoding encoding = _dictionary.Encode(x);
        using Tensor reconstruction = _dictionary.Decode(encoding);
        _sums.Add(new ReconstructionSums(x.ToArray<float>(), encoding.Features, reconstruction.ToArray<float>()));
        Use.Add(encoding.Features, encoding.Features.Rows);
    }

    /// <summary>The means over the batches.</summary>
    /// <exception cref="DictionaryException">There was none.</exception>
    public ActivationEvaluation Result() => _sums.Count == 0 ? throw new DictionaryException("There are no activations to evaluate on.")
        : new()
        {
            L2Loss = _sums.Average(sums => sums.ErrorNorm / sums.Rows),
            L1Loss = _sums.Average(sums => sums.ActiveSum / sums.Rows),
            L0 = _sums.Average(sums => sums.Active / sums.Rows),
            Cosine = _sums.Average(sums => sums.Cosine / sums.Rows),
            NormRatio = _sums.Average(sums => sums.NormRatio / sums.Rows),
            VarianceExplained = _sums.Average(sums => sums.VarianceExplained),
            RelativeReconstructionBias = _sums.Average(sums => sums.ReconstructionSquare / sums.Product),
            AliveShare = 1 - (double)Use.Dead / _dictionary.Config.Features,
        };
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
