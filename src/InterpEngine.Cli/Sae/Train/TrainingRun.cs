using System.Diagnostics;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>One training run, from its first rows to the dictionaries in their folders, which all learn from the same rows.</summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>Points in the log at most.</summary>
    private const int LogPoints = 500;

    private readonly Model _model;
    private readonly TrainingFolder _folder;
    private readonly TrainingRows _rows;
    private readonly List<TrainedDictionary> _dictionaries = [];
    private readonly DictionaryTraining _training;
    private readonly int _batch, _steps, _checkpoints;
    private readonly long _begin = Stopwatch.GetTimestamp();

    /// <param name="model">The model; it stays the caller's.</param>
    /// <param name="name">How it was named.</param>
    /// <param name="dictionaries">The settings of each dictionary, which agree about the rows, and its folder.</param>
    /// <exception cref="InterpException">Settings do not belong together, or the checkpoint is another run's.</exception>
    public TrainingRun(Model model, string name, params IReadOnlyList<(TrainingSettings Settings, TrainingFolder Folder)> dictionaries)
    {
        (TrainingSettings settings, _folder) = dictionaries[0];
        _model = model;
        (_batch, _steps, _checkpoints) = (settings.Int("batch"), settings.Int("steps"), settings.Int("checkpoint_every"));
        _rows = new TrainingRows(model, settings);
        try
        {
            TrainingRecipe[] recipes = [.. dictionaries.Select(one => TrainingRecipe.Of(one.Settings, _rows.Source.Width, _rows.Source.TargetWidth))];
            RowScale[] scales = [.. recipes.Select(recipe => recipe.Scale).Distinct()];
            _rows.Scale(
                scales.Length == 1 ? scales[0] : throw new UsageException(
                    $"All dictionaries of a run learn from the same rows; these want them as {string.Join(" and as ", scales)}.", "Set 'normalize'."),
                estimates: !_folder.Resumes);
            int near = recipes.Where(recipe => recipe.DataShare > 0 && recipe.Given is null).Select(recipe => recipe.Config.Features).DefaultIfEmpty().Max();
            (float[], float[]) data = near > 0 && !_folder.Resumes ? Draw(near) : ([], []);
            foreach ((TrainingRecipe recipe, (TrainingSettings own, TrainingFolder folder)) in recipes.Zip(dictionaries))
            {
                TrainingRecipe here = recipe with
                {
                    Config = recipe.Config with { HookName = _rows.Point, HookNameOut = _rows.Target, ModelName = name },
                };
                _dictionaries.Add(new TrainedDictionary(here, own, folder, data, model.Device));
            }

            _training = new DictionaryTraining(_rows.Source, _batch, [.. _dictionaries.Select(dictionary => dictionary.Trainer)]);
            if (_folder.Resumes)
            {
                _training.Resume(_folder.Checkpoint);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, and writes the dictionaries.</summary>
    /// <param name="terminal">Where progress shows.</param>
    /// <param name="plot">An HTML file of the course, or null.</param>
    /// <param name="cancellation">Ends it after a step, with a checkpoint.</param>
    public IReadOnlyList<TrainingSummary> Run(Terminal terminal, string? plot, CancellationToken cancellation)
    {
        _dictionaries.ForEach(dictionary => dictionary.Begin());
        if (_folder.Resumes)
        {
            terminal.Note($"Going on from step {_training.StepCount}.");
        }

        string what = _dictionaries.Count > 1 ? $"{_dictionaries.Count} dictionaries" : $"{_dictionaries[0].Trainer.Config.Features} features";
        var view = new TrainingView(
            terminal, [.. _dictionaries.Select(dictionary => (dictionary.Name, dictionary.Log))], _steps, $"{what} at {_rows.Point}", plot);
        view.Watch(shown => Train(shown, cancellation));
        double seconds = Stopwatch.GetElapsedTime(_begin).TotalSeconds;
        if (_training.StepCount < _steps)
        {
            terminal.Note($"Stopped after step {_training.StepCount}{(_checkpoints > 0 ? "; --resume goes on from there" : "")}.");
            cancellation.ThrowIfCancellationRequested();
        }

        // A short run is not to spend most of its time on being judged.
        int sequences = (int)Math.Clamp((long)_steps * _batch / (16 * _rows.Context), 16, 128);
        return terminal.Busy("Evaluating", () =>
            _dictionaries.ConvertAll(dictionary => dictionary.Finish(_model, _rows, seconds, sequences, cancellation)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _dictionaries.ForEach(dictionary => dictionary.Dispose());
        _rows.Dispose();
    }

    /// <summary>Trains until the steps are taken or the run is cancelled.</summary>
    private void Train(Action<int> shown, CancellationToken cancellation)
    {
        int each = Math.Max(1, _steps / LogPoints), first = _training.StepCount;
        long begin = Stopwatch.GetTimestamp();
        try
        {
            _training.Run(_steps, _checkpoints > 0 ? _folder.Checkpoint : null, Math.Max(1, _checkpoints), Progress, cancellation);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // Said by the caller, when the panel is gone.
        }

        void Progress(int step, IReadOnlyList<StepReport> reports)
        {
            double rows = (double)(step - first) * _batch; // of the run so far: harvests come in bursts
            foreach ((TrainedDictionary dictionary, StepReport report) in _dictionaries.Zip(reports))
            {
                dictionary.Add(report);
                if (step % each == 0 || step == _steps)
                {
                    dictionary.Note(report, rows / Stopwatch.GetElapsedTime(begin).TotalSeconds);
                }
            }

            shown(step);
        }
    }

    private (float[] Rows, float[] Targets) Draw(int count)
    {
        (Tensor rows, Tensor? targets) = _rows.Source.NextPair(count);
        using (rows)
        using (targets)
        {
            return (rows.ToArray<float>(), targets?.ToArray<float>() ?? []);
        }
    }
}
