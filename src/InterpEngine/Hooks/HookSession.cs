using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Hooks;

/// <summary>What one run is to do at each point. The forward pass asks it before it computes, and visits it with what it computed.</summary>
internal sealed class HookSession : IDisposable
{
    private static readonly int s_kinds = HookKinds.All.Count;

    private readonly bool[] _captured;
    private readonly List<HookCallback>?[] _callbacks;
    private readonly Range? _positions;
    private readonly bool _removeBatch;

    public HookSession(HookRegistry registry, int layers, HookSelection capture, IEnumerable<Hook> hooks, Range? positions, bool removeBatch)
    {
        (_positions, _removeBatch) = (positions, removeBatch);
        _captured = new bool[s_kinds * Math.Max(1, layers)];
        _callbacks = new List<HookCallback>?[_captured.Length];
        Captured = capture.Resolve(registry);
        foreach (HookPoint point in Captured)
        {
            _captured[IndexOf(point)] = true;
        }

        foreach (Hook hook in hooks)
        {
            foreach (HookPoint point in hook.Points.Resolve(registry))
            {
                (_callbacks[IndexOf(point)] ??= []).Add(hook.Callback);
            }
        }
    }

    /// <summary>The points to capture, in the order of the forward pass.</summary>
    public IReadOnlyList<HookPoint> Captured { get; }

    /// <summary>What was captured so far.</summary>
    public ActivationCache Cache { get; } = new();

    /// <summary>Whether anyone looks at a point.</summary>
    public bool Wants(HookKind kind, int layer)
    {
        int index = IndexOf(new HookPoint(kind, layer));
        return _captured[index] || _callbacks[index] is not null;
    }

    /// <summary>Whether anyone may replace the value at a point, so that nothing after it can be computed in the same op.</summary>
    public bool MayReplace(HookKind kind, int layer) => _callbacks[IndexOf(new HookPoint(kind, layer))] is not null;

    /// <summary>Calls the callbacks and captures.</summary>
    /// <param name="kind">Where the run is.</param>
    /// <param name="layer">The block.</param>
    /// <param name="value">The value; if a callback replaced it, the new one, the old being disposed.</param>
    /// <returns>Whether the value was replaced.</returns>
    /// <exception cref="HookException">A callback returned a tensor of another type, shape or device.</exception>
    public bool Visit(HookKind kind, int layer, ref Tensor value)
    {
        var point = new HookPoint(kind, layer);
        int index = IndexOf(point);
        bool replaced = false;
        foreach (HookCallback callback in _callbacks[index] ?? [])
        {
            if (callback(point, value) is not { } replacement || ReferenceEquals(replacement, value))
            {
                continue;
            }

            if (replacement.Type != value.Type || replacement.Shape != value.Shape || replacement.Device != value.Device)
            {
                string message = $"The hook at '{point}' returned {replacement}; expected {value}.";
                replacement.Dispose();
                throw new HookException(message);
            }

            value.Dispose();
            value = replacement;
            replaced = true;
        }

        if (_captured[index])
        {
            Cache.Add(point, Keep(kind, value));
        }

        return replaced;
    }

    /// <summary>Refuses a point that was named, not globbed, and that a run over some layers does not reach.</summary>
    /// <param name="options">The run's options.</param>
    /// <param name="from">First block that is run.</param>
    /// <param name="stop">First block that is not, or null where the run goes on to the logits.</param>
    /// <exception cref="HookException">Such a point was named.</exception>
    public static void CheckReached(RunOptions options, int from, int? stop)
    {
        if (options.StartAtLayer is null && stop is null)
        {
            return;
        }

        foreach (string name in options.Hooks.SelectMany(hook => hook.Points).Concat(options.Capture))
        {
            if (!HookPoint.TryParse(name, out HookPoint point))
            {
                continue;
            }

            bool reached = point.Kind.Info().InBlock
                ? point.Layer >= from && point.Layer < (stop ?? int.MaxValue)
                : point.Kind < HookKind.ResidPre ? options.StartAtLayer is null : stop is null;
            if (!reached)
            {
                throw new HookException($"'{name}' is not reached by a run that starts at layer {from} and stops "
                    + (stop is null ? "at the end." : $"before layer {stop}."));
            }
        }
    }

    public void Dispose() => Cache.Dispose();

    private static int IndexOf(HookPoint point) => point.Layer * s_kinds + (int)point.Kind;

    /// <summary>A captured value is the buffer itself, not recycled; only a slice of positions is copied.</summary>
    private Tensor Keep(HookKind kind, Tensor value)
    {
        Tensor kept = _positions is { } range ? SlicePositions(kind, value, range) : value.Share();
        if (!_removeBatch)
        {
            return kept;
        }

        using (kept)
        {
            return kept.Reshape(kept.Shape.Axes[1..]);
        }
    }

    private static Tensor SlicePositions(HookKind kind, Tensor value, Range range)
    {
        string[] axes = kind.Info().Axes.Split(' ');
        int axis = Array.FindIndex(axes, name => name is "p" or "q");
        (int start, int length) = range.GetOffsetAndLength(value.Shape[axis]);
        int[] shape = value.Shape.Axes.ToArray();
        int outer = 1, inner = 1;
        for (int i = 0; i < shape.Length; i++)
        {
            outer *= i < axis ? shape[i] : 1;
            inner *= i > axis ? shape[i] : 1;
        }

        long stride = (long)shape[axis] * inner;
        shape[axis] = length;
        Tensor slice = value.Device.Allocate(value.Type, shape);
        value.Device.Run(new Copy
        {
            From = new Matrix(value, (long)start * inner, outer, length * inner, stride),
            To = new Matrix(slice, 0, outer, length * inner, (long)length * inner),
        });
        return slice;
    }
}
