using System.Text.RegularExpressions;

namespace InterpEngine.Kernels.Gpu;

/// <summary>What is done to ILGPU's PTX before the driver sees it.</summary>
internal static partial class PtxText
{
    /// <summary>Part of every cache key: another pass makes other text.</summary>
    public const int Version = 2;

    public static string Pass(string ptx)
    {
        // ILGPU takes some divergent branches for uniform ones (its analysis ignores control dependence).
        ptx = UniformBranch().Replace(ptx, "bra");

        // Without a rounding ptxas may fuse a product and a sum, so that a result would depend on what stands beside it.
        ptx = Unrounded().Replace(ptx, "$1.rn.f32");

        return Names().Replace(ptx, new Renaming().Replace);
    }

    [GeneratedRegex(@"\bbra\.uni\b")]
    private static partial Regex UniformBranch();

    [GeneratedRegex(@"\b(add|sub|mul)\.f32\b")]
    private static partial Regex Unrounded();

    /// <summary>Names that end in the number of a compiler's node, which depends on what was compiled before; not the
    /// architecture's.</summary>
    [GeneratedRegex(@"(?<![\w%.])(?!sm_)(L_|[A-Za-z_]\w*?_)(\d+)\b")]
    private static partial Regex Names();

    /// <summary>Numbers them in the order in which they appear.</summary>
    private sealed class Renaming
    {
        private readonly Dictionary<string, string> _names = [];

        public string Replace(Match match)
        {
            if (!_names.TryGetValue(match.Value, out string? name))
            {
                _names[match.Value] = name = match.Groups[1].Value + _names.Count;
            }

            return name;
        }
    }
}
