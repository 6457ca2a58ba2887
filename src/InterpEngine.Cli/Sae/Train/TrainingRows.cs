using System.Globalization;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>The rows that settings describe: from the running model or from a capture, mixed, and in a scale of their own if asked for.</summary>
internal sealed class TrainingRows : IDisposable
{
    /// <summary>Of the language of the model that comes along: evaluation takes another one.</summary>
    private const int TextSeed = 1000;

    private readonly Model _model;
    private readonly TrainingSettings _settings;

    /// <exception cref="InterpException">There is no such point, text or capture.</exception>
    public TrainingRows(Model model, TrainingSettings settings)
    {
        (_model, _settings) = (model, settings);
        Context = Math.Min(settings.Int("context"), model.Description.Context);
        Point = settings.Text("point") ?? DefaultPoint(model);
        Target = settings.Text("target");
        Source = new ShuffledActivations(Stream(), model.Device, settings.Int("seed"), settings.Int("buffer"));
    }

    /// <summary>The hook point that is read.</summary>
    public string Point { get; }

    /// <summary>What is to be made of it, or null for itself.</summary>
    public string? Target { get; }

    /// <summary>Tokens of a sequence.</summary>
    public int Context { get; }

    /// <summary>The rows.</summary>
    public IActivationSource Source { get; private set; }

    /// <summary>Brings rows to a scale.</summary>
    /// <param name="scale">Which.</param>
    /// <param name="estimates">Whether it is to be estimated from rows; a run that goes on has it in its checkpoint.</param>
    public void Scale(RowScale scale, bool estimates)
    {
        int batch = _settings.Int("batch"), batches = _settings.Int("normalize_batches");
        Source = scale switch
        {
            RowScale.None => Source,
            RowScale.Whiten when estimates => new NormalizedActivations(Source, Whitening.Estimate(Draw(batches * batch), Source.Width)),
            RowScale.ExpectedAverage when estimates =>
                new NormalizedActivations(Source, NormalizedActivations.EstimateScale(Source, batch, batches)),
            RowScale.RootMeanSquare when estimates =>
                new NormalizedActivations(Source, NormalizedActivations.EstimateRootMeanSquareScale(Source, batch, batches)),
            _ => new NormalizedActivations(Source, 1),
        };
    }

    /// <summary>A dictionary of these rows as one of the rows as they are.</summary>
    public (DictionaryConfig Config, DictionaryParameters Parameters) Unscale(DictionaryConfig config, DictionaryParameters parameters) =>
        Source is NormalizedActivations scaled ? scaled.Fold(config, parameters) : (config, parameters);

    /// <summary>Of the model's own language, text that was not trained on.</summary>
    public IEnumerable<TokenBatch> HeldOut(int sequences)
    {
        IEnumerable<string> documents = SaeTexts.Documents(_model, _settings.Text("text"), SaeTexts.HeldOutSeed);
        return PackedSequences.Of(_model, documents, Context, _settings.Bool("prepend_bos"), rest: true)
            .Take(sequences).Chunk(16).Select(TokenBatch.LeftPadded);
    }

    /// <inheritdoc/>
    public void Dispose() => Source.Dispose();

    private float[] Draw(int count)
    {
        using Tensor rows = Source.Next(count);
        return rows.ToArray<float>();
    }

    private IRowStream Stream()
    {
        HashSet<int>? excluded = _settings.Bool("exclude_special") ? SaeTexts.SpecialTokens(_model) : null;
        return _settings.Text("capture") is { } capture
            ? new CapturedActivations(capture, Point, excluded, Target)
            : new ModelActivations(_model, Point, Sequences(), excluded: excluded, target: Target);
    }

    /// <summary>The texts again and again.</summary>
    private IEnumerable<int[]> Sequences()
    {
        string? file = _settings.Text("text");
        for (bool any = true; any;)
        {
            any = false;
            foreach (int[] sequence in PackedSequences.Of(
                _model, SaeTexts.Documents(_model, file, TextSeed), Context, _settings.Bool("prepend_bos"), rest: false))
            {
                any = true;
                yield return sequence;
            }
        }

        throw new UsageException($"{file} holds less than one sequence of {Context} tokens.", "Give more text, or a smaller 'context'.");
    }

    /// <summary>The residual stream after three quarters of the blocks: late enough to be about meaning, early enough to matter.</summary>
    private static string DefaultPoint(Model model) =>
        string.Create(CultureInfo.InvariantCulture, $"blocks.{Math.Max(0, model.Description.Layers * 3 / 4 - 1)}.hook_resid_post");
}

/// <summary>A scale for all rows, which is estimated from them and folded into the dictionary in the end.</summary>
internal enum RowScale
{
    /// <summary>As they are.</summary>
    None,

    /// <summary>The mean norm becomes √width: SAELens's <c>expected_average_only_in</c>.</summary>
    ExpectedAverage,

    /// <summary>The mean squared norm becomes 1: dictionary_learning's.</summary>
    RootMeanSquare,

    /// <summary>Mean 0 and covariance 1.</summary>
    Whiten,
}
