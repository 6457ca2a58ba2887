using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>What counts in an evaluation.</summary>
public sealed record EvaluationOptions
{
    /// <summary>Tokens that do not count and whose activations are never replaced: special ones, usually.</summary>
    public IReadOnlySet<int> IgnoredTokens { get; init; } = new HashSet<int>();

    /// <summary>The point that the dictionary reads; null for what its files say.</summary>
    public string? Point { get; init; }

    /// <summary>The point that it reconstructs, a transcoder's output; null for what its files say.</summary>
    public string? Target { get; init; }

    /// <summary>The dictionary sees activations times this, and its output is divided by it.</summary>
    public float InputScale { get; init; } = 1;
}

/// <summary>
/// Evaluates a dictionary on texts, batch by batch: three runs of the model each, as it is, with the reconstruction in it, and with zeros
/// (there also at ignored tokens, as SAELens has it). What a transcoder is compared with is what stands where it writes.
/// </summary>
public sealed class DictionaryEvaluator
{
    private readonly Model _model;
    private readonly SparseDictionary _dictionary;
    private readonly EvaluationOptions _options;
    private readonly string _reads, _writes;
    private readonly List<ReconstructionSums> _sums = [];
    private readonly FeatureUse _use;
    private (double Sae, double Ablated, long Tokens) _divergence;
    private (double Clean, double Sae, double Ablated, long Tokens) _loss;
    private long _tokens;

    /// <param name="model">The model that it was trained on.</param>
    /// <param name="dictionary">On the model's device.</param>
    /// <param name="options">What counts.</param>
    /// <exception cref="DictionaryException">It is a crosscoder, does not fit, or its files do not say where it belongs.</exception>
    public DictionaryEvaluator(Model model, SparseDictionary dictionary, EvaluationOptions? options = null)
    {
        (_model, _dictionary, _options) = (model, dictionary, options ?? new EvaluationOptions());
        var site = new DictionarySite(model, dictionary, _options.Point, _options.Target);
        if (dictionary.Config.Layers > 1)
        {
            throw new DictionaryException("A crosscoder reads several points at once, and cannot be put in the place of one.");
        }

        _reads = site.Name;
        _writes = site.Writes?.Name
            ?? throw new DictionaryException("The transcoder's files do not say which hook point it writes.", "Name its target.");
        _use = new FeatureUse(dictionary.Config.Features);
    }

    /// <summary>Evaluates on all batches.</summary>
    /// <exception cref="DictionaryException">No token counted.</exception>
    public static DictionaryEvaluation Evaluate(
        Model model, SparseDictionary dictionary, IEnumerable<TokenBatch> batches, EvaluationOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(batches);
        var evaluator = new DictionaryEvaluator(model, dictionary, options);
        foreach (TokenBatch batch in batches)
        {
            evaluator.Add(batch, cancellation);
        }

        return evaluator.Result();
    }

    /// <summary>Evaluates on one more batch.</summary>
    public void Add(TokenBatch tokens, CancellationToken cancellation = default)
    {
        using EvaluatedBatch batch = Run(tokens, cancellation);
        bool[] counted = batch.Counted;
        _sums.Add(new ReconstructionSums(batch.X, batch.Features, batch.Reconstruction, row => counted[row / batch.RowsPerToken]));
        _use.Add(batch.Features, tokens.Length * batch.RowsPerToken, row => counted[row / batch.RowsPerToken]);
        _tokens += counted.Length;
        for (int i = 0; i < counted.Length; i++)
        {
            if (!counted[i])
            {
                continue;
            }

            _divergence.Tokens++;
            _divergence.Sae += batch.WithSae.Divergence[i];
            _divergence.Ablated += batch.Ablated.Divergence[i];
            if (!double.IsNaN(batch.Clean.CrossEntropy[i]))
            {
                _loss.Tokens++;
                _loss.Clean += batch.Clean.CrossEntropy[i];
                _loss.Sae += batch.WithSae.CrossEntropy[i];
                _loss.Ablated += batch.Ablated.CrossEntropy[i];
            }
        }
    }

    /// <summary>What all batches together say.</summary>
    /// <exception cref="DictionaryException">No token counted.</exception>
    public DictionaryEvaluation Result()
    {
        double rows = Total(sums => sums.Rows);
        if (rows == 0)
        {
            throw new DictionaryException("No token counted in the evaluation.", "Give texts that have other tokens than the ignored ones.");
        }

        double error = Total(sums => sums.ErrorSquare);
        double[] mean = [.. Enumerable.Range(0, _sums[0].Sum.Count).Select(i => Total(sums => sums.Sum[i]) / rows)];
        double variance = Total(sums => sums.Square) / rows - ReconstructionSums.SquareOf(mean);
        return new DictionaryEvaluation
        {
            KlWithSae = _divergence.Sae / _divergence.Tokens,
            KlWithAblation = _divergence.Ablated / _divergence.Tokens,
            LossWithoutSae = _loss.Clean / _loss.Tokens,
            LossWithSae = _loss.Sae / _loss.Tokens,
            LossWithAblation = _loss.Ablated / _loss.Tokens,
            NormIn = Total(sums => sums.Norm) / rows,
            NormOut = Total(sums => sums.ReconstructionNorm) / rows,
            NormRatio = Total(sums => sums.GuardedNormRatio) / rows,
            RelativeReconstructionBias = _sums.Where(sums => sums.Rows > 0).Average(sums => sums.ReconstructionSquare / sums.Product),
            L0 = Total(sums => sums.Active) / rows,
            L1 = Total(sums => sums.ActiveSum) / rows,
            MeanSquaredError = error / rows,
            ExplainedVariance = variance < 1e-10 ? (error / rows < 1e-10 ? 1 : 0) : 1 - error / rows / variance,
            ExplainedVarianceLegacy = Total(sums => sums.LegacyVariance) / rows,
            Cosine = Total(sums => sums.Cosine) / rows,
            Tokens = _tokens,
            Use = _use,
        };
    }

    /// <summary>The three runs.</summary>
    internal EvaluatedBatch Run(TokenBatch tokens, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        bool[] counted = [.. Enumerable.Range(0, tokens.Batch * tokens.Length).Select(i => Counts(tokens, i))];
        bool[] untouched = [.. counted.Select(counts => !counts)];
        using RunResult clean = _model.Run(tokens, new RunOptions { Capture = HookSelection.Create(_reads, _writes) }, cancellation);
        Tensor x = clean.Cache[_reads], y = clean.Cache[_writes];
        var splice = new Splice(
            _dictionary)
        { ReadsAt = _reads, WritesAt = _writes, InputScale = _options.InputScale, Untouched = untouched };
        using RunResult spliced = _model.Run(tokens, [splice], null, cancellation);
        using RunResult ablated = _model.Run(
            tokens, new RunOptions { Hooks = [new Hook(_writes, (_, value) => Zeros(value))] }, cancellation);
        (SparseRows features, float[] reconstruction) = splice.Reconstruct(x, y);
        return new EvaluatedBatch(
            counted, y.ToArray<float>(), features, reconstruction, new PredictionShift(clean.Logits!, tokens, null),
            new PredictionShift(spliced.Logits!, tokens, clean.Logits), new PredictionShift(ablated.Logits!, tokens, clean.Logits));
    }

    private bool Counts(TokenBatch tokens, int at)
    {
        (int row, int position) = Math.DivRem(at, tokens.Length);
        (int first, int end) = tokens.Spans[row];
        return position >= first && position < end && !_options.IgnoredTokens.Contains(tokens.Ids[at]);
    }

    internal static Tensor Zeros(Tensor value)
    {
        Tensor zeros = value.Device.Allocate(ElementType.F32, value.Shape);
        value.Device.Run(new Fill { Out = zeros, Value = 0 });
        return zeros;
    }

    private double Total(Func<ReconstructionSums, double> of) => _sums.Sum(of);
}

/// <summary>One batch of an evaluation.</summary>
/// <param name="Counted">[tokens]: which count.</param>
/// <param name="X">[rows, d]: the activations; of a transcoder those that it reconstructs.</param>
/// <param name="Features">[rows, features].</param>
/// <param name="Reconstruction">[rows, d]: in the scale of x, at ignored tokens too.</param>
/// <param name="Clean">The model's own predictions.</param>
/// <param name="WithSae">Those with the reconstruction.</param>
/// <param name="Ablated">Those with zeros.</param>
internal sealed record EvaluatedBatch(
    bool[] Counted, float[] X, SparseRows Features, float[] Reconstruction, PredictionShift Clean, PredictionShift WithSae,
    PredictionShift Ablated) : IDisposable
{
    /// <summary>1, or the number of heads where each head's z is a row.</summary>
    public int RowsPerToken => Features.Rows / Counted.Length;

    public void Dispose() => Features.Dispose();
}
