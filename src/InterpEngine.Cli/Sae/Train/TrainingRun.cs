using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>One training run, from its first rows to the dictionary in its folder.</summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>Of the language of the model that comes along: evaluation takes another one.</summary>
    private const int TextSeed = 1000;

    /// <summary>Points in the log at most.</summary>
    private const int LogPoints = 500;

    private readonly Model _model;
    private readonly TrainingSettings _settings;
    private readonly TrainingFolder _folder;
    private readonly ModelActivations _source;
    private readonly DictionaryTrainer _trainer;
    private readonly InputNormalization _normalization;
    private readonly int _context, _batch, _steps;
    private readonly long _begin = Stopwatch.GetTimestamp();

    /// <param name="model">The model; it stays the caller's.</param>
    /// <param name="name">How it was named.</param>
    /// <param name="settings">The settings.</param>
    /// <param name="folder">Where the run is kept.</param>
    /// <exception cref="InterpException">Settings do not belong together, or the checkpoint is another run's.</exception>
    public TrainingRun(Model model, string name, TrainingSettings settings, TrainingFolder folder)
    {
        (_model, _settings, _folder) = (model, settings, folder);
        (_batch, _steps) = (settings.Int("batch"), settings.Int("steps"));
        _context = Math.Min(settings.Int("context"), model.Description.Context);
        string point = settings.Text("point") ?? DefaultPoint(model);
        string? target = settings.Text("target");
        _ = (model.Points.Require(point), target is null ? default : model.Points.Require(target));
        _source = new ModelActivations(
            model, point, Sequences(), settings.Int("seed"), settings.Int("buffer"),
            excluded: settings.Bool("exclude_special") ? SaeTexts.SpecialTokens(model) : null, target: target);
        try
        {
            var recipe = TrainingRecipe.Of(settings, _source.Width, _source.TargetWidth);
            _normalization = recipe.Config.Normalization;
            recipe = recipe with { Config = recipe.Config with { HookName = point, HookNameOut = target, ModelName = name } };
            _trainer = new DictionaryTrainer(recipe.Config, Begin(recipe), recipe.Options, model.Device);
            if (folder.Resumes)
            {
                _source.Skip(TrainingCheckpoint.Load(_trainer, folder.Checkpoint) - _source.Drawn);
            }
        }
        catch
        {
            _source.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, and writes the dictionary.</summary>
    /// <param name="terminal">Where progress shows.</param>
    /// <param name="plot">An HTML file of the course, or null.</param>
    /// <param name="cancellation">Ends it after a step, with a checkpoint.</param>
    public TrainingSummary Run(Terminal terminal, string? plot, CancellationToken cancellation)
    {
        _folder.Begin(_settings);
        if (_folder.Resumes)
        {
            terminal.Note($"Going on from step {_trainer.StepCount}.");
        }

        using var log = new TrainingLog(_folder.Path, _trainer.StepCount);
        string title = $"{_trainer.Config.Features} features at {_trainer.Config.HookName}";
        new TrainingView(terminal, log, _steps, title, plot).Watch(shown => Train(log, shown, cancellation));
        double seconds = Stopwatch.GetElapsedTime(_begin).TotalSeconds;
        if (_trainer.StepCount < _steps)
        {
            terminal.Note(_settings.Int("checkpoint_every") > 0
                ? $"Stopped after step {_trainer.StepCount}; --resume goes on from there."
                : $"Stopped after step {_trainer.StepCount}.");
            cancellation.ThrowIfCancellationRequested();
        }

        return Finish(terminal, log, seconds, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
        _source.Dispose();
    }

    private void Train(TrainingLog log, Action<int> shown, CancellationToken cancellation)
    {
        int checkpoints = _settings.Int("checkpoint_every"), each = Math.Max(1, _steps / LogPoints), saved = _trainer.StepCount;
        var means = new TrainingMeans();
        long begin = Stopwatch.GetTimestamp(), first = _trainer.StepCount;
        while (_trainer.StepCount < _steps && !cancellation.IsCancellationRequested)
        {
            (Tensor x, Tensor? y) = Next(_batch);
            StepReport report;
            using (x)
            using (y)
            {
                report = _trainer.Step(x, y);
            }

            if (!double.IsFinite(report.Loss))
            {
                throw new DictionaryException(
                    $"The loss is {report.Loss} after step {_trainer.StepCount}: training has diverged.",
                        "Lower the rate, or give 'clip'.");
            }

            means.Add(report);
            if (_trainer.StepCount % each == 0 || _trainer.StepCount == _steps)
            {
                // Of the run so far: harvests come in bursts.
                double rows = (_trainer.StepCount - first) * _batch;
                log.Add(means.Take(_trainer.StepCount, report.LearningRate, rows / Stopwatch.GetElapsedTime(begin).TotalSeconds));
            }

            if (checkpoints > 0 && (_trainer.StepCount % checkpoints == 0 || _trainer.StepCount == _steps))
            {
                Save();
            }

            shown(_trainer.StepCount);
        }

        if (checkpoints > 0 && _trainer.StepCount > saved)
        {
            Save();
        }

        void Save()
        {
            if (_trainer.StepCount != saved)
            {
                TrainingCheckpoint.Save(_trainer, _folder.Checkpoint, _source.Drawn);
                saved = _trainer.StepCount;
            }
        }
    }

    /// <summary>Writes the dictionary, and judges it on some text.</summary>
    private TrainingSummary Finish(Terminal terminal, TrainingLog log, double seconds, CancellationToken cancellation)
    {
        (DictionaryConfig config, DictionaryParameters parameters) = (_trainer.Config, _trainer.Export());
        if (config.ScalesByDecoderNorm)
        {
            (config, parameters) = DictionaryFolding.FoldDecoderNorms(config, parameters);
            // Of length 1 they scale nothing; and there is no format for transcoders that says so.
            config = config.IsTranscoder ? config with { ScalesByDecoderNorm = false } : config;
        }

        DictionaryFile.Write(_folder.Path, config, parameters);
        DictionaryEvaluation evaluation = terminal.Busy("Evaluating", () =>
        {
            using SparseDictionary dictionary = SparseDictionary.Load(_folder.Path, _model.Device);
            return DictionaryEvaluator.Evaluate(_model, dictionary, EvaluationBatches(), null, cancellation);
        });
        FeatureDensities.Write(_folder.Path, evaluation.Use.Density);
        return new TrainingSummary(
            _folder.Path, config.Features, _steps, seconds, log.Points.Count > 0 ? log.Points[^1] : null, evaluation);
    }

    /// <summary>Of the model's own language, text that was not trained on.</summary>
    private IEnumerable<TokenBatch> EvaluationBatches()
    {
        // A short run is not to spend most of its time on being judged.
        int sequences = (int)Math.Clamp((long)_steps * _batch / (16 * _context), 16, 128);
        IEnumerable<string> documents = SaeTexts.Documents(_model, _settings.Text("text"), SaeTexts.HeldOutSeed);
        return PackedSequences.Of(_model, documents, _context, _settings.Bool("prepend_bos"), rest: true)
            .Take(sequences).Chunk(16).Select(TokenBatch.LeftPadded);
    }

    private DictionaryParameters Begin(TrainingRecipe recipe)
    {
        DictionaryParameters parameters = Initialization.Random(recipe.Config, _settings.Int("seed"), recipe.DecoderNorm);
        parameters.Threshold?.AsSpan().Fill((float)recipe.Threshold);
        if (recipe.DataShare > 0 && !_folder.Resumes)
        {
            (Tensor rows, Tensor? targets) = Next(recipe.Config.Features);
            using (rows)
            using (targets)
            {
                float[] values = rows.ToArray<float>();
                DataInitialization.Blend(recipe.Config, parameters, values, targets?.ToArray<float>() ?? values, recipe.DataShare);
            }
        }

        return !_settings.Bool("skip") ? parameters : new DictionaryParameters
        {
            Encoder = parameters.Encoder,
            Decoder = parameters.Decoder,
            EncoderBias = parameters.EncoderBias,
            DecoderBias = parameters.DecoderBias,
            Threshold = parameters.Threshold,
            Skip = new float[recipe.Config.InputWidth * recipe.Config.OutputWidth],
        };
    }

    /// <summary>The next rows as the dictionary will read them, with their targets; the loss is measured between these.</summary>
    private (Tensor Rows, Tensor? Targets) Next(int count)
    {
        (Tensor rows, Tensor? targets) = _source.NextPair(count);
        if (!RowNormalization.Has(_normalization))
        {
            return (rows, targets);
        }

        using (rows)
        {
            float[] values = rows.ToArray<float>();
            for (int at = 0; at < values.Length; at += _source.Width)
            {
                RowNormalization.Apply(values.AsSpan(at, _source.Width), _normalization);
            }

            return (_model.Device.Upload<float>(values, count, _source.Width), targets);
        }
    }

    /// <summary>The texts again and again.</summary>
    private IEnumerable<int[]> Sequences()
    {
        string? file = _settings.Text("text");
        for (bool any = true; any;)
        {
            any = false;
            foreach (int[] sequence in PackedSequences.Of(
                _model, SaeTexts.Documents(_model, file, TextSeed), _context, _settings.Bool("prepend_bos"), rest: false))
            {
                any = true;
                yield return sequence;
            }
        }

        throw new UsageException($"{file} holds less than one sequence of {_context} tokens.", "Give more text, or a smaller 'context'.");
    }

    /// <summary>The residual stream after three quarters of the blocks: late enough to be about meaning, early enough to matter.</summary>
    private static string DefaultPoint(Model model) =>
        string.Create(CultureInfo.InvariantCulture, $"blocks.{Math.Max(0, model.Description.Layers * 3 / 4 - 1)}.hook_resid_post");
}

/// <summary>What came of a run.</summary>
internal sealed record TrainingSummary(
    string Folder, int Features, int Steps, double Seconds, TrainingPoint? Last, DictionaryEvaluation Evaluation)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Features} features after {Steps} steps ({Seconds:0} s): explained variance {Evaluation.ExplainedVariance:0.0000}, "
        + $"L0 {Evaluation.L0:0.#}, loss recovered {Evaluation.LossScore:0.0000}, "
        + $"{Evaluation.Use.Dead} features not active in {Evaluation.Tokens} tokens: {Folder}");

    /// <summary>As JSON.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteString("dictionary", Folder);
        json.WriteNumber("features", Features);
        json.WriteNumber("steps", Steps);
        json.WriteNumber("seconds", Math.Round(Seconds, 3));
        if (Last is not null)
        {
            json.WriteNumber("loss", Last.Loss);
        }

        json.WriteNumber("explained_variance", Evaluation.ExplainedVariance);
        json.WriteNumber("l0", Evaluation.L0);
        json.WriteNumber("loss_recovered", Evaluation.LossScore);
        json.WriteNumber("dead", Evaluation.Use.Dead);
        json.WriteNumber("tokens_evaluated", Evaluation.Tokens);
    }
}
