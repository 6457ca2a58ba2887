using System.Collections;
using InterpEngine.Kernels;

namespace InterpEngine.Hooks;

/// <summary>The values that a run captured. It owns its tensors: they live until it is disposed.</summary>
public sealed class ActivationCache : IReadOnlyDictionary<HookPoint, Tensor>, IDisposable
{
    private readonly SortedDictionary<HookPoint, Tensor> _tensors = [];

    /// <summary>The value at a point.</summary>
    /// <exception cref="HookException">It was not captured.</exception>
    public Tensor this[HookPoint point] => _tensors.TryGetValue(point, out Tensor? tensor)
        ? tensor
        : throw new HookException($"'{point}' was not captured in this run.", "Add it to the points to capture.");

    /// <summary>The value at the point of this name.</summary>
    /// <exception cref="HookException">There is no such name, or it was not captured.</exception>
    public Tensor this[string name] => HookPoint.TryParse(name, out HookPoint point)
        ? this[point]
        : throw new HookException($"'{name}' is not the name of a hook point.");

    /// <summary>The points, in the order of the forward pass.</summary>
    public IEnumerable<HookPoint> Keys => _tensors.Keys;

    /// <summary>The values, in the same order.</summary>
    public IEnumerable<Tensor> Values => _tensors.Values;

    /// <inheritdoc/>
    public int Count => _tensors.Count;

    /// <summary>Bytes of all values.</summary>
    public long Bytes => _tensors.Values.Sum(tensor => tensor.Bytes);

    /// <inheritdoc/>
    public bool ContainsKey(HookPoint key) => _tensors.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(HookPoint key, [System.Diagnostics.CodeAnalysis.MaybeNullWhen(false)] out Tensor value) =>
        _tensors.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<HookPoint, Tensor>> GetEnumerator() => _tensors.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _tensors.Values)
        {
            tensor.Dispose();
        }

        _tensors.Clear();
    }

    internal void Add(HookPoint point, Tensor owned) => _tensors.Add(point, owned);
}
