using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>
/// The folder of a run: its settings, its course, its last checkpoint, and in the end the dictionary. Nothing that is there is lost by
/// mistake: a run that exists is gone on with on request only, with the same settings, and replaced on request only.
/// </summary>
/// <param name="path">The folder.</param>
/// <param name="run">The folder of the whole run, where that is another: of several dictionaries there is one checkpoint.</param>
internal sealed class TrainingFolder(string path, string? run = null)
{
    private const string SettingsName = "train.json", CheckpointName = "checkpoint.safetensors", WeightsName = "sae_weights.safetensors",
        SparsifyWeightsName = "sae.safetensors";

    /// <summary>The folder.</summary>
    public string Path => path;

    /// <summary>Where the last checkpoint is, or will be.</summary>
    public string Checkpoint => System.IO.Path.Combine(run ?? path, CheckpointName);

    /// <summary>Whether there is a checkpoint to go on from.</summary>
    public bool Resumes { get; private set; }

    /// <summary>Judges whether a run may begin here; nothing is changed.</summary>
    /// <param name="settings">Of the run.</param>
    /// <param name="resume">Whether it goes on from a checkpoint, if there is one.</param>
    /// <param name="overwrite">Whether what is there may be replaced.</param>
    /// <exception cref="UsageException">Something is there that would be lost, or the run there has other settings.</exception>
    public void Check(TrainingSettings settings, bool resume, bool overwrite)
    {
        bool checkpoint = File.Exists(Checkpoint), weights = File.Exists(In(WeightsName)) || File.Exists(In(SparsifyWeightsName));
        if (!resume && !overwrite && (checkpoint || weights))
        {
            throw new UsageException(
                $"{path} already holds {(weights ? "a dictionary" : "a run that has not ended")}.",
                checkpoint ? "Give --resume to go on with it, --overwrite to begin anew, or another folder."
                    : "Give --overwrite to replace it, or another folder.");
        }

        if (resume && checkpoint)
        {
            if (!File.Exists(In(SettingsName)))
            {
                throw new UsageException($"{path} is not of the run that was begun here.", "Go on with the same settings, or begin anew in another folder.");
            }

            TrainingSettings before = TrainingSettings.Read(In(SettingsName), []);
            if (settings.DifferenceFrom(before) is { } key)
            {
                throw new UsageException(
                    $"The run in {path} has '{key}' {before.Show(key)}, but {settings.Show(key)} is asked for now.",
                    "Go on with the same settings, or begin anew in another folder.");
            }
        }

        Resumes = resume && checkpoint;
    }

    /// <summary>Makes the folder ready for a run that can begin: what it replaces goes away.</summary>
    /// <exception cref="FileWriteException">It may not be written.</exception>
    public void Begin(TrainingSettings settings)
    {
        try
        {
            Directory.CreateDirectory(path);
            if (!Resumes)
            {
                File.Delete(Checkpoint);
                File.Delete(In(WeightsName));
                File.Delete(In(SparsifyWeightsName));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new FileWriteException(path, $"could not be made ready ({e.Message})", "Check that it may be written.", e);
        }

        AtomicFile.WriteAllBytes(In(SettingsName), settings.ToJson());
    }

    private string In(string name) => System.IO.Path.Combine(path, name);
}
