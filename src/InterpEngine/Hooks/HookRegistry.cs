using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Hooks;

/// <summary>The hook points that one model has, their shapes, and why it lacks the others.</summary>
public sealed class HookRegistry
{
    private readonly ModelDescription _model;

    /// <summary>Lists the points of a model.</summary>
    public HookRegistry(ModelDescription model)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        var points = new List<HookPoint>();
        foreach (HookKindInfo info in HookKinds.All)
        {
            if (WhyAbsent(info.Kind) is null)
            {
                points.AddRange(Enumerable.Range(0, info.InBlock ? model.Layers : 1).Select(layer => new HookPoint(info.Kind, layer)));
            }
        }

        points.Sort();
        Points = points;
    }

    /// <summary>Every point of the model, in the order of its forward pass.</summary>
    public IReadOnlyList<HookPoint> Points { get; }

    /// <summary>Why the model has no point of a kind; null where it has.</summary>
    public string? WhyAbsent(HookKind kind) => kind switch
    {
        HookKind.PosEmbed when _model.Positions is not LearnedPositions =>
            "positions enter by rotation of queries and keys, not by an embedding",
        HookKind.RotQ or HookKind.RotK when _model.Positions is not RotaryPositions =>
            "positions are learned embeddings; queries and keys are not rotated (hook_q and hook_k enter the dot product)",
        HookKind.AttnIn when _model.KeyValueHeads != _model.Heads =>
            "queries and keys have different numbers of heads; use hook_q_input, hook_k_input and hook_v_input",
        HookKind.ResidMid when _model.ParallelBlock =>
            "attention and MLP run in parallel on the same input; nothing lies between them",
        HookKind.MlpPreLinear when !_model.GatedMlp =>
            "the MLP has no gate; hook_pre is its only projection",
        _ => null,
    };

    /// <summary>The point of this name.</summary>
    /// <exception cref="HookException">There is no such name, no such block, or the model lacks the point: the message says which and why.</exception>
    public HookPoint Require(string name)
    {
        if (!HookPoint.TryParse(name, out HookPoint point))
        {
            throw new HookException($"'{name}' is not the name of a hook point.", Suggest(name));
        }

        if (WhyAbsent(point.Kind) is { } reason)
        {
            throw new HookException($"This model ({_model.Family}) has no '{name}': {reason}.");
        }

        return !point.Kind.Info().InBlock || point.Layer < _model.Layers
            ? point
            : throw new HookException($"'{name}' does not exist: the model's blocks are 0 to {_model.Layers - 1}.");
    }

    /// <summary>The shape that a point has in a run.</summary>
    /// <param name="point">A point of the model.</param>
    /// <param name="batch">Sequences.</param>
    /// <param name="positions">Tokens of each that the run computes.</param>
    /// <param name="keys">Tokens of each that attention looks at: more than <paramref name="positions"/> with a key/value cache.</param>
    public Shape ShapeOf(HookPoint point, int batch, int positions, int keys)
    {
        string[] axes = point.Kind.Info().Axes.Split(' ');
        Span<int> lengths = stackalloc int[axes.Length];
        for (int i = 0; i < axes.Length; i++)
        {
            lengths[i] = axes[i] switch
            {
                "b" => batch,
                "p" or "q" => positions,
                "k" => keys,
                "d" => _model.Width,
                "h" => _model.Heads,
                "g" => _model.KeyValueHeads,
                "e" => _model.HeadSize,
                "m" => _model.MlpWidth,
                _ => 1,
            };
        }

        return new Shape(lengths);
    }

    internal HookException NoMatch(string pattern)
    {
        foreach (HookKindInfo info in HookKinds.All)
        {
            if (WhyAbsent(info.Kind) is { } reason
                && Enumerable.Range(0, _model.Layers).Any(layer => HookSelection.Matches(pattern, new HookPoint(info.Kind, layer))))
            {
                return new HookException($"No hook point of this model ({_model.Family}) matches '{pattern}': {reason}.");
            }
        }

        return new HookException($"No hook point matches '{pattern}'.", "`interp info MODEL` lists the points of a model.");
    }

    /// <summary>A point whose name ends in the same way.</summary>
    private string Suggest(string name)
    {
        string last = name[(name.LastIndexOf('.') + 1)..];
        HookPoint? nearest = Points.Cast<HookPoint?>().FirstOrDefault(point => point!.Value.Name.EndsWith(last, StringComparison.Ordinal));
        return nearest is { } point && last.Length > 0
            ? $"Did you mean '{point.Name}'? `interp info MODEL` lists the points of a model."
            : "`interp info MODEL` lists the points of a model; globs such as 'blocks.*.hook_resid_post' are understood.";
    }
}
