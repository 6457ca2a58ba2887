using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>What the next step depends on.</summary>
public sealed partial class DictionaryTrainer
{
    private const string SinceKey = "since active", ActivationsKey = "activations", StepKey = "step", ThresholdKey = "threshold", AnnealingKey = "annealing", RandomKey = "random";

    /// <summary>Writes weights, moments and counters.</summary>
    internal void Save(CheckpointWriter state)
    {
        state.Add(StepKey, StepCount);
        state.Add(ThresholdKey, InferenceThreshold);
        state.AddIntegers(SinceKey, _sinceActive);
        state.AddIntegers(ActivationsKey, _activations);
        state.AddWords(RandomKey, _random.State.ToArray());
        foreach ((string name, Kernels.Tensor tensor) in Tensors)
        {
            state.Add(name, tensor);
        }

        Annealed?.Save(state.Scope(AnnealingKey));
    }

    /// <summary>Goes on where a run of the same settings was saved.</summary>
    /// <exception cref="InvalidFileException">The state is broken, or another run's.</exception>
    internal void Load(CheckpointReader state)
    {
        // All is looked at before anything changes.
        (int step, double threshold) = (state.Count(StepKey), state.Number(ThresholdKey));
        long[] sinceActive = state.Integers(SinceKey, _sinceActive.Length), activations = state.Integers(ActivationsKey, _activations.Length);
        ulong[] random = state.Words(RandomKey, 4);
        foreach ((string name, Kernels.Tensor tensor) in Tensors)
        {
            state.Require(name, tensor.Shape[0], tensor.Shape[1]);
        }

        Annealed?.Load(state.Scope(AnnealingKey));
        foreach ((string name, Kernels.Tensor tensor) in Tensors)
        {
            state.CopyTo(name, tensor);
        }

        (StepCount, InferenceThreshold) = (step, threshold);
        sinceActive.CopyTo(_sinceActive, 0);
        activations.CopyTo(_activations, 0);
        random.CopyTo(_random.State);
    }

    /// <summary>Each parameter, and what the optimiser remembers of it.</summary>
    private IEnumerable<(string Name, Kernels.Tensor Tensor)> Tensors => _all.SelectMany(matrix => new[]
    {
        (matrix.Name, matrix.Value), ($"{matrix.Name}.first", matrix.M), ($"{matrix.Name}.second", matrix.V),
    });
}
