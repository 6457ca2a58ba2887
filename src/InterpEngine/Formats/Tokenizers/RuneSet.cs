using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A set of code points, as a character class describes it. ASCII is answered from a table.</summary>
internal sealed class RuneSet
{
    private static readonly string[] Categories =
    [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co",
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn",
    ];

    private readonly Func<int, bool> _contains;
    private readonly UInt128 _ascii;

    private RuneSet(Func<int, bool> contains)
    {
        _contains = contains;
        for (int rune = 0; rune < 128; rune++)
        {
            _ascii |= contains(rune) ? UInt128.One << rune : 0;
        }
    }

    public static RuneSet Any { get; } = new(_ => true);

    public static RuneSet Space { get; } = new(rune => Rune.IsValid(rune) && Rune.IsWhiteSpace(new Rune(rune)));

    public static RuneSet Word { get; } = new(TextSplitting.IsWord);

    public static RuneSet Digit { get; } = Category("Nd")!;

    public static RuneSet HexDigit { get; } = new(rune => rune < 128 && char.IsAsciiHexDigit((char)rune));

    /// <summary>Unicode's script Han: ideographs, radicals and their few marks.</summary>
    public static RuneSet Han { get; } = new(rune => rune is (>= 0x2E80 and <= 0x2E99) or (>= 0x2E9B and <= 0x2EF3)
        or (>= 0x2F00 and <= 0x2FD5) or 0x3005 or 0x3007 or (>= 0x3021 and <= 0x3029) or (>= 0x3038 and <= 0x303B)
        or (>= 0x3400 and <= 0x4DBF) or (>= 0x4E00 and <= 0x9FFF) or (>= 0xF900 and <= 0xFA6D) or (>= 0xFA70 and <= 0xFAD9)
        or 0x16FE2 or 0x16FE3 or 0x16FF0 or 0x16FF1 or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2EBE0)
        or (>= 0x2EBF0 and <= 0x2EE5D) or (>= 0x2F800 and <= 0x2FA1D) or (>= 0x30000 and <= 0x3134A)
        or (>= 0x31350 and <= 0x323AF));

    public static RuneSet Range(int first, int last) => new(rune => rune >= first && rune <= last);

    public static RuneSet Union(List<RuneSet> sets) =>
        sets.Count == 1 ? sets[0] : new(rune => sets.Exists(set => set.Contains(rune)));

    public static RuneSet Intersection(RuneSet first, RuneSet second) =>
        new(rune => first.Contains(rune) && second.Contains(rune));

    /// <summary>General categories: a main class (<c>L</c>), a category (<c>Lu</c>), or null where the name is none.</summary>
    public static RuneSet? Category(string name)
    {
        int mask = 0;
        for (int i = 0; i < Categories.Length; i++)
        {
            bool named = name.Length is 1 or 2 && Categories[i].StartsWith(name, StringComparison.Ordinal);
            mask |= named || (name == "LC" && i < 3) ? 1 << i : 0;
        }

        return mask == 0 ? null : new(rune => (mask >> (int)CharUnicodeInfo.GetUnicodeCategory(rune) & 1) != 0);
    }

    public bool Contains(int rune) => rune < 128 ? (_ascii >> rune & 1) != 0 : _contains(rune);

    public RuneSet Complement() => new(rune => !Contains(rune));

    /// <summary>The set with every character that equals a member but for its case.</summary>
    public RuneSet IgnoringCase() => new(rune =>
    {
        if (Contains(rune))
        {
            return true;
        }

        int folded = Fold(rune);
        return Contains(folded) || Contains(Upper(folded)) || AlsoFoldTo(folded).Exists(Contains);
    });

    // The platform's invariant casing keeps these apart from ASCII; Unicode's case folding does not.
    private static int Fold(int rune) => rune switch
    {
        0x17F => 's',
        0x212A => 'k',
        0x1E9E => 0xDF,
        _ => Rune.IsValid(rune) ? Rune.ToLowerInvariant(new Rune(Upper(rune))).Value : rune,
    };

    private static int Upper(int rune) => Rune.IsValid(rune) ? Rune.ToUpperInvariant(new Rune(rune)).Value : rune;

    private static List<int> AlsoFoldTo(int folded) => folded switch
    {
        's' => [0x17F],
        'k' => [0x212A],
        0xDF => [0x1E9E],
        0xE5 => [0x212B],
        0x3C3 => [0x3C2],
        0x3C9 => [0x2126],
        _ => [],
    };
}
