using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>One of the dictionaries of a run.</summary>
internal sealed class TrainedDictionary : IDisposable
{
    private readonly TrainingFolder _folder;
    private readonly TrainingMeans _means = new();
    private TrainingLog? _log;

    /// <param name="recipe">What is trained, and how.</param>
    /// <param name="settings">Its settings.</param>
    /// <param name="folder">Where it is kept.</param>
    /// <param name="data">[n, input] and [n, output]: rows to begin near to; empty where it does not.</param>
    /// <param name="device">Where it is trained.</param>
    public TrainedDictionary(
        TrainingRecipe recipe, TrainingSettings settings, TrainingFolder folder, (float[] Rows, float[] Targets) data, Device device)
    {
        (_folder, Settings) = (folder, settings);
        Trainer = new DictionaryTrainer(recipe.Config, Begin(recipe, settings, data), recipe.Options, device);
    }

    public TrainingSettings Settings { get; }

    public DictionaryTrainer Trainer { get; }

    /// <summary>How it is called among the others.</summary>
    public string Name => Path.GetFileName(_folder.Path);

    /// <summary>Its course.</summary>
    public TrainingLog Log => _log ??= new TrainingLog(_folder.Path, Trainer.StepCount);

    /// <summary>Makes the folder ready.</summary>
    public void Begin() => _folder.Begin(Settings);

    /// <summary>Counts a step.</summary>
    /// <exception cref="DictionaryException">Training has diverged.</exception>
    public void Add(StepReport report)
    {
        if (!double.IsFinite(report.Loss))
        {
            throw new DictionaryException(
                $"The loss is {report.Loss} after step {Trainer.StepCount}: training has diverged.", "Lower the rate, or give 'clip'.");
        }

        _means.Add(report);
    }

    /// <summary>Writes how it stands into its log.</summary>
    public void Note(StepReport report, double rowsPerSecond) => Log.Add(_means.Take(Trainer.StepCount, report.LearningRate, rowsPerSecond));

    /// <summary>Writes the dictionary, and judges it on some text.</summary>
    public TrainingSummary Finish(Model model, TrainingRows rows, double seconds, int sequences, CancellationToken cancellation)
    {
        (DictionaryConfig config, DictionaryParameters parameters) = (Trainer.Config, Trainer.Export());
        if (config.ScalesByDecoderNorm)
        {
            (config, parameters) = DictionaryFolding.FoldDecoderNorms(config, parameters);
            // Of length 1 they scale nothing; and there is no format for transcoders that says so.
            config = config.IsTranscoder ? config with { ScalesByDecoderNorm = false } : config;
        }

        (config, parameters) = rows.Unscale(config, parameters);
        DictionaryFile.Write(_folder.Path, config, parameters);
        using SparseDictionary dictionary = SparseDictionary.Load(_folder.Path, model.Device);
        DictionaryEvaluation evaluation = DictionaryEvaluator.Evaluate(model, dictionary, rows.HeldOut(sequences), null, cancellation);
        FeatureDensities.Write(_folder.Path, evaluation.Use.Density);
        return new TrainingSummary(
            _folder.Path, config.Features, Trainer.StepCount, seconds, Log.Points.Count > 0 ? Log.Points[^1] : null, evaluation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _log?.Dispose();
        Trainer.Dispose();
    }

    private static DictionaryParameters Begin(TrainingRecipe recipe, TrainingSettings settings, (float[] Rows, float[] Targets) data)
    {
        if (recipe.Given is { } given)
        {
            return given;
        }

        DictionaryConfig config = recipe.Config;
        DictionaryParameters parameters = Initialization.Random(config, settings.Int("seed"), recipe.DecoderNorm, settings.Bool("skip"));
        parameters.Threshold?.AsSpan().Fill((float)recipe.Threshold);
        if (recipe.DataShare > 0 && data.Rows.Length > 0)
        {
            float[] rows = Normalized(data.Rows, config);
            DataInitialization.Blend(config, parameters, rows, data.Targets.Length > 0 ? data.Targets : rows, recipe.DataShare);
        }

        return parameters;
    }

    /// <summary>Rows as the encoder reads them.</summary>
    private static float[] Normalized(float[] rows, DictionaryConfig config)
    {
        if (RowNormalization.Of(config.Normalization) is not { } normalization)
        {
            return rows;
        }

        float[] values = [.. rows];
        for (int at = 0; at < values.Length; at += config.InputWidth)
        {
            normalization.Apply(values.AsSpan(at, config.InputWidth));
        }

        return values;
    }
}
