using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace InterpEngine.Hooks;

/// <summary>One place in a model: a kind and, for kinds that every block has, the block.</summary>
/// <param name="Kind">What is looked at.</param>
/// <param name="Layer">The block, from 0; 0 for points outside the blocks.</param>
public readonly record struct HookPoint(HookKind Kind, int Layer = 0) : IComparable<HookPoint>
{
    private const string BlockPrefix = "blocks.";

    /// <summary>TransformerLens's name, such as <c>blocks.3.attn.hook_pattern</c>.</summary>
    public string Name
    {
        get
        {
            HookKindInfo info = Kind.Info();
            return info.InBlock ? string.Create(CultureInfo.InvariantCulture, $"{BlockPrefix}{Layer}.{info.Suffix}") : info.Suffix;
        }
    }

    /// <summary>Reads a name. Whether a model has the point is another question.</summary>
    /// <returns>Whether the name is that of a kind, with a block number where one belongs.</returns>
    public static bool TryParse([NotNullWhen(true)] string? name, out HookPoint point)
    {
        point = default;
        if (name is null)
        {
            return false;
        }

        int layer = 0;
        ReadOnlySpan<char> suffix = name;
        bool inBlock = suffix.StartsWith(BlockPrefix, StringComparison.Ordinal);
        if (inBlock)
        {
            suffix = suffix[BlockPrefix.Length..];
            int dot = suffix.IndexOf('.');
            bool plain = dot > 0 && (dot == 1 || suffix[0] != '0');
            if (!plain || !int.TryParse(suffix[..dot], NumberStyles.None, CultureInfo.InvariantCulture, out layer))
            {
                return false;
            }

            suffix = suffix[(dot + 1)..];
        }

        foreach (HookKindInfo info in HookKinds.All)
        {
            if (info.InBlock == inBlock && suffix.SequenceEqual(info.Suffix))
            {
                point = new HookPoint(info.Kind, layer);
                return true;
            }
        }

        return false;
    }

    /// <summary>The order of the forward pass.</summary>
    public int CompareTo(HookPoint other) => (Stage, Layer, Kind).CompareTo((other.Stage, other.Layer, other.Kind));

    /// <summary>The name.</summary>
    public override string ToString() => Name;

    /// <summary>Whether one point comes before another in the forward pass.</summary>
    public static bool operator <(HookPoint left, HookPoint right) => left.CompareTo(right) < 0;

    /// <summary>Whether one point comes after another in the forward pass.</summary>
    public static bool operator >(HookPoint left, HookPoint right) => left.CompareTo(right) > 0;

    /// <summary>Whether one point does not come after another in the forward pass.</summary>
    public static bool operator <=(HookPoint left, HookPoint right) => left.CompareTo(right) <= 0;

    /// <summary>Whether one point does not come before another in the forward pass.</summary>
    public static bool operator >=(HookPoint left, HookPoint right) => left.CompareTo(right) >= 0;

    private int Stage => Kind < HookKind.ResidPre ? 0 : Kind.Info().InBlock ? 1 : 2;
}
