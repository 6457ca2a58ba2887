using System.Globalization;
using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// A training run on disk: parameters, moments and counters in one safetensors file that appears whole or not at all. A run that is taken
/// up again computes the same bits as one that was never interrupted.
/// </summary>
public static class TrainingCheckpoint
{
    private const string Format = "interp-sae-training-1";

    /// <summary>Writes a run's state.</summary>
    /// <param name="trainer">The run.</param>
    /// <param name="path">The file.</param>
    /// <param name="rows">Rows that its source had given out.</param>
    /// <exception cref="FileWriteException">The disk refused; an older checkpoint still stands.</exception>
    public static void Save(DictionaryTrainer trainer, string path, long rows)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        var tensors = new List<SafetensorsDeclaration> { new("since active", SafetensorsType.I64, trainer.SinceActive.Count) };
        foreach (TrainedMatrix matrix in trainer.Trained)
        {
            tensors.AddRange(from part in Parts(matrix) select new SafetensorsDeclaration(part.Name, SafetensorsType.F32, matrix.Rows, matrix.Columns));
        }

        using var writer = new SafetensorsWriter(path, tensors, new Dictionary<string, string>
        {
            ["format"] = Format,
            ["step"] = trainer.StepCount.ToString(CultureInfo.InvariantCulture),
            ["rows"] = rows.ToString(CultureInfo.InvariantCulture),
            ["threshold"] = trainer.InferenceThreshold.ToString("R", CultureInfo.InvariantCulture),
        });
        writer.Write("since active", MemoryMarshal.AsBytes<long>(trainer.SinceActive.ToArray()));
        foreach (TrainedMatrix matrix in trainer.Trained)
        {
            foreach ((string name, Kernels.Tensor tensor) in Parts(matrix))
            {
                writer.Write(name, MemoryMarshal.AsBytes(HostSpan.Of<float>(tensor)));
            }
        }

        writer.Complete();
    }

    /// <summary>Takes a run up again.</summary>
    /// <param name="trainer">A run begun with the same settings.</param>
    /// <param name="path">The file.</param>
    /// <returns>Rows that its source had given out.</returns>
    /// <exception cref="InvalidFileException">It is no checkpoint, or of another run.</exception>
    public static long Load(DictionaryTrainer trainer, string path)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        using SafetensorsFile file = SafetensorsFile.Open(path);
        if (file.Metadata.GetValueOrDefault("format") != Format || trainer.Annealed is not null
            || !int.TryParse(file.Metadata.GetValueOrDefault("step"), NumberStyles.None, CultureInfo.InvariantCulture, out int step)
            || !long.TryParse(file.Metadata.GetValueOrDefault("rows"), NumberStyles.None, CultureInfo.InvariantCulture, out long rows)
            || !double.TryParse(file.Metadata.GetValueOrDefault("threshold"), NumberStyles.Float, CultureInfo.InvariantCulture, out double threshold))
        {
            throw new InvalidFileException(path, "is no checkpoint of such a training run", "Begin anew, or name the checkpoint of this run.");
        }

        using StoredState state = new(file);
        foreach (TrainedMatrix matrix in trainer.Trained)
        {
            foreach ((string name, Kernels.Tensor tensor) in Parts(matrix))
            {
                state.Read(name, matrix.Rows, matrix.Columns).CopyTo(HostSpan.Of<float>(tensor));
            }
        }

        trainer.Resume(step, threshold, state.Counters(trainer.SinceActive.Count));
        return rows;
    }

    private static IEnumerable<(string Name, Kernels.Tensor Tensor)> Parts(TrainedMatrix matrix) =>
        [(matrix.Name, matrix.Value), ($"{matrix.Name}.first", matrix.M), ($"{matrix.Name}.second", matrix.V)];

    /// <summary>The tensors of a checkpoint, checked.</summary>
    private sealed class StoredState(SafetensorsFile file) : IDisposable
    {
        public float[] Read(string name, int rows, int columns) => Entry(name, [rows, columns]).ToSingles();

        public long[] Counters(int features) => Entry("since active", [features]).ToIntegers();

        public void Dispose() => file.Dispose();

        private SafetensorsEntry Entry(string name, long[] shape) =>
            file.Tensors.TryGetValue(name, out SafetensorsEntry? entry) && entry.Shape.SequenceEqual(shape)
                ? entry
                : throw new InvalidFileException(
                    file.Path, $"has no tensor {InputFile.Quote(name)} of [{string.Join(", ", shape)}]", "It is the checkpoint of another run.");
    }
}
