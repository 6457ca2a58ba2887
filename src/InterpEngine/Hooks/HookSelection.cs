using System.IO.Enumeration;
using System.Runtime.CompilerServices;

namespace InterpEngine.Hooks;

/// <summary>
/// A choice of hook points: exact names, globs (<c>*</c> any characters, <c>?</c> one) and, with a leading <c>!</c>, what to leave out
/// again. <c>["blocks.*.hook_resid_post", "!blocks.0.*"]</c> is every residual stream but the first block's.
/// </summary>
[CollectionBuilder(typeof(HookSelection), nameof(Create))]
public sealed class HookSelection : IEnumerable<string>
{
    private readonly string[] _patterns;

    /// <summary>What was chosen last, and of which model: a selection serves run after run.</summary>
    private Tuple<HookRegistry, HookPoint[]>? _resolved;

    private HookSelection(string[] patterns) => _patterns = patterns;

    /// <summary>No points.</summary>
    public static HookSelection None { get; } = new([]);

    /// <summary>Every point that a model has.</summary>
    public static HookSelection All { get; } = new(["*"]);

    /// <summary>The points that match any of the patterns, less those that match one with a leading <c>!</c>.</summary>
    public static HookSelection Create(params ReadOnlySpan<string> patterns) => new(patterns.ToArray());

    /// <summary>One name or glob.</summary>
    public static implicit operator HookSelection(string pattern) => new([pattern]);

    /// <summary>Names or globs.</summary>
    public static implicit operator HookSelection(string[] patterns) => new([.. patterns]);

    /// <summary>Typed points.</summary>
    public static implicit operator HookSelection(HookPoint[] points) => FromPoints(points);

    /// <summary>One typed point.</summary>
    public static implicit operator HookSelection(HookPoint point) => FromPoints([point]);

    /// <summary>Typed points.</summary>
    public static HookSelection FromPoints(params ReadOnlySpan<HookPoint> points)
    {
        var names = new string[points.Length];
        for (int i = 0; i < names.Length; i++)
        {
            names[i] = points[i].Name;
        }

        return new(names);
    }

    /// <summary>The chosen points of a model, in the order of its forward pass, each once.</summary>
    /// <exception cref="HookException">A name is no hook point of this model (with the reason), or a glob matches none.</exception>
    public IReadOnlyList<HookPoint> Resolve(HookRegistry registry)
    {
        ArgumentNullException.ThrowIfNull(registry);
        Tuple<HookRegistry, HookPoint[]>? resolved = _resolved;
        if (resolved?.Item1 != registry)
        {
            _resolved = resolved = Tuple.Create(registry, Choose(registry));
        }

        return resolved.Item2;
    }

    private HookPoint[] Choose(HookRegistry registry)
    {
        var chosen = new SortedSet<HookPoint>();
        foreach (string pattern in _patterns)
        {
            if (pattern.StartsWith('!'))
            {
                continue;
            }

            if (!IsGlob(pattern))
            {
                chosen.Add(registry.Require(pattern));
                continue;
            }

            bool any = false;
            foreach (HookPoint point in registry.Points)
            {
                if (Matches(pattern, point))
                {
                    any = true;
                    chosen.Add(point);
                }
            }

            if (!any)
            {
                throw registry.NoMatch(pattern);
            }
        }

        foreach (string pattern in _patterns)
        {
            if (pattern.StartsWith('!'))
            {
                chosen.RemoveWhere(point => Matches(pattern[1..], point));
            }
        }

        return [.. chosen];
    }

    /// <inheritdoc/>
    public IEnumerator<string> GetEnumerator() => ((IEnumerable<string>)_patterns).GetEnumerator();

    System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => _patterns.GetEnumerator();

    internal static bool IsGlob(string pattern) => pattern.AsSpan().ContainsAny('*', '?');

    internal static bool Matches(string pattern, HookPoint point) =>
        FileSystemName.MatchesSimpleExpression(pattern, point.Name, ignoreCase: false);
}
