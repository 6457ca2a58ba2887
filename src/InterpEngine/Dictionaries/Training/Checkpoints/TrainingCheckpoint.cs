using System.Globalization;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// A training run on disk, everything that its next step depends on: of each dictionary the weights, moments and counters, of the source the rows
/// that wait to be drawn, their random numbers and its place. One safetensors file, which appears whole and synced or not at all. A
/// run that is taken up again computes the same bits as one that was never interrupted, and no row twice.
/// </summary>
public static class TrainingCheckpoint
{
    private const string Format = "interp-sae-training-2", FormatKey = "format", TrainersKey = "dictionaries", Source = "source";

    /// <summary>Writes a run's state.</summary>
    /// <param name="path">The file.</param>
    /// <param name="source">Where its rows come from.</param>
    /// <param name="trainers">Its dictionaries.</param>
    /// <exception cref="FileWriteException">The disk refused; an older checkpoint still stands.</exception>
    public static void Save(string path, IActivationSource source, params IReadOnlyList<DictionaryTrainer> trainers)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(trainers);
        var state = new CheckpointWriter();
        state.Add(FormatKey, Format);
        state.Add(TrainersKey, trainers.Count);
        for (int i = 0; i < trainers.Count; i++)
        {
            trainers[i].Save(state.Scope(Name(i)));
        }

        source.Save(state.Scope(Source));
        state.Complete(path);
    }

    /// <summary>Takes a run up again.</summary>
    /// <param name="path">The file.</param>
    /// <param name="source">A source of the same settings.</param>
    /// <param name="trainers">Trainers of the same settings.</param>
    /// <exception cref="InvalidFileException">It is no checkpoint, or another run's.</exception>
    public static void Load(string path, IActivationSource source, params IReadOnlyList<DictionaryTrainer> trainers)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(trainers);
        using SafetensorsFile file = SafetensorsFile.Open(path);
        var state = new CheckpointReader(file);
        if (!state.Has(FormatKey) || state.Text(FormatKey) != Format)
        {
            throw new InvalidFileException(path, "is no checkpoint of a training run", "Begin anew, or name the checkpoint of this run.");
        }

        if (state.Count(TrainersKey) != trainers.Count)
        {
            throw state.Another($"holds {state.Count(TrainersKey)} dictionaries; expected {trainers.Count}");
        }

        for (int i = 0; i < trainers.Count; i++)
        {
            trainers[i].Load(state.Scope(Name(i)));
        }

        source.Load(state.Scope(Source));
    }

    private static string Name(int trainer) => trainer.ToString(CultureInfo.InvariantCulture);
}
