using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// Dictionaries that are trained from the same rows: a row is computed and drawn once, whatever their number, while the next ones are
/// computed. Together with their source they are one checkpoint.
/// </summary>
public sealed class DictionaryTraining
{
    private readonly IActivationSource _source;
    private readonly int _batch;

    /// <summary>Begins, or prepares to go on.</summary>
    /// <param name="source">Where rows come from; it stays the caller's.</param>
    /// <param name="batch">Rows of a step.</param>
    /// <param name="trainers">What is trained; they stay the caller's.</param>
    /// <exception cref="DictionaryException">A dictionary does not fit the rows.</exception>
    public DictionaryTraining(IActivationSource source, int batch, params IReadOnlyList<DictionaryTrainer> trainers)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(trainers);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        ArgumentOutOfRangeException.ThrowIfZero(trainers.Count, nameof(trainers));
        (_source, _batch, Trainers) = (source, batch, trainers);
        foreach (DictionaryConfig config in trainers.Select(trainer => trainer.Config))
        {
            int output = source.TargetWidth > 0 ? source.TargetWidth : source.Width;
            if (config.InputWidth != source.Width || config.OutputWidth != output)
            {
                throw new DictionaryException(
                    $"A dictionary from {config.InputWidth} to {config.OutputWidth} cannot be trained on rows of {source.Width} to become {output}.");
            }
        }
    }

    /// <summary>What is trained.</summary>
    public IReadOnlyList<DictionaryTrainer> Trainers { get; }

    /// <summary>Steps that all have taken.</summary>
    public int StepCount => Trainers[0].StepCount;

    /// <summary>Draws rows, and takes one step with each dictionary.</summary>
    public IReadOnlyList<StepReport> Step()
    {
        (Tensor rows, Tensor? targets) = _source.NextPair(_batch);
        using (rows)
        using (targets)
        {
            return [.. Trainers.Select(trainer => trainer.Step(rows, targets))];
        }
    }

    /// <summary>Trains on, and writes checkpoints: whenever the process ends, at most the steps since the last one are lost.</summary>
    /// <param name="steps">The step to end after, counted from the beginning of the run.</param>
    /// <param name="checkpoint">The checkpoint's file, or null for none.</param>
    /// <param name="every">Steps from one checkpoint to the next; there is one at the end, too.</param>
    /// <param name="progress">Told of each step, before it is saved: how many were taken, and what each dictionary's did. What it throws ends the
    /// run without another checkpoint.</param>
    /// <param name="cancellation">Ends it after a step, with a checkpoint.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="InterpEngine.Formats.FileWriteException">The disk refused; the last checkpoint still stands.</exception>
    public void Run(
        int steps, string? checkpoint = null, int every = 1000, Action<int, IReadOnlyList<StepReport>>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(every);
        int saved = StepCount;
        while (StepCount < steps && !cancellation.IsCancellationRequested)
        {
            IReadOnlyList<StepReport> reports = Step();
            progress?.Invoke(StepCount, reports);
            if (checkpoint is not null && StepCount % every == 0)
            {
                Save(checkpoint);
                saved = StepCount;
            }
        }

        if (checkpoint is not null && saved < StepCount)
        {
            Save(checkpoint);
        }

        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Writes the state of the run.</summary>
    /// <exception cref="InterpEngine.Formats.FileWriteException">The disk refused; an older checkpoint still stands.</exception>
    public void Save(string path) => TrainingCheckpoint.Save(path, _source, Trainers);

    /// <summary>Goes on where a run of the same settings was saved.</summary>
    /// <exception cref="InterpEngine.Formats.InvalidFileException">It is no checkpoint, or another run's.</exception>
    public void Resume(string path) => TrainingCheckpoint.Load(path, _source, Trainers);
}
