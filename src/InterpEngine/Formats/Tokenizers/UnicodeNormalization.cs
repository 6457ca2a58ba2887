using System.Globalization;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// Unicode normalization forms (UAX 15) that also say how each resulting character relates to the input, which the platform's
/// own normalization cannot; nor does that work where globalization is invariant.
/// </summary>
internal static class UnicodeNormalization
{
    private const int HangulBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TrailBase = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TrailCount = 28, HangulCount = LeadCount * VowelCount * TrailCount;

    private static readonly Lazy<Data> Tables = new(Data.Load);

    /// <summary>Decomposes, and composes again if asked: the edits that turn a text's characters into the normal form.</summary>
    public static List<Edit> Normalize(ReadOnlySpan<char> text, bool compatibility, bool compose)
    {
        List<Edit> edits = new(text.Length);
        List<int> parts = [];
        int unsorted = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            parts.Clear();
            Decompose(rune.Value, compatibility, parts);
            for (int i = 0; i < parts.Count; i++)
            {
                if (CombiningClass(parts[i]) == 0)
                {
                    SortMarks(edits, unsorted);
                    unsorted = edits.Count + 1;
                }

                edits.Add(new Edit(parts[i], i == 0 ? 0 : 1));
            }
        }

        SortMarks(edits, unsorted);
        return compose ? Compose(edits) : edits;
    }

    private static int CombiningClass(int rune) => rune < 0x300 ? 0 : Tables.Value.Classes.GetValueOrDefault(rune);

    private static void Decompose(int rune, bool compatibility, List<int> parts)
    {
        int hangul = rune - HangulBase;
        if (hangul is >= 0 and < HangulCount)
        {
            parts.Add(LeadBase + (hangul / (VowelCount * TrailCount)));
            parts.Add(VowelBase + (hangul / TrailCount % VowelCount));
            if (hangul % TrailCount != 0)
            {
                parts.Add(TrailBase + (hangul % TrailCount));
            }
        }
        else if (rune >= 0xA0 && Tables.Value.Decompositions.TryGetValue(rune, out var entry)
            && (compatibility || !entry.Compatible))
        {
            foreach (int part in entry.Parts)
            {
                Decompose(part, compatibility, parts);
            }
        }
        else
        {
            parts.Add(rune);
        }
    }

    /// <summary>Stable insertion sort by combining class of the marks at the end; there are rarely more than two.</summary>
    private static void SortMarks(List<Edit> edits, int start)
    {
        for (int i = start + 1; i < edits.Count; i++)
        {
            Edit mark = edits[i];
            int at = i;
            for (; at > start && CombiningClass(edits[at - 1].Rune) > CombiningClass(mark.Rune); at--)
            {
                edits[at] = edits[at - 1];
            }

            edits[at] = mark;
        }
    }

    private static List<Edit> Compose(List<Edit> edits)
    {
        List<Edit> result = new(edits.Count);
        int starter = -1, lastClass = 0;
        foreach (Edit edit in edits)
        {
            int kind = CombiningClass(edit.Rune);
            bool adjacent = starter >= 0 && starter == result.Count - 1;
            if (starter >= 0 && (adjacent || lastClass < kind) && TryCompose(result[starter].Rune, edit.Rune) is int composed)
            {
                result[starter] = new Edit(composed, result[starter].Change + edit.Change - 1);
                continue;
            }

            if (kind == 0)
            {
                starter = result.Count;
            }

            lastClass = kind;
            result.Add(edit);
        }

        return result;
    }

    private static int? TryCompose(int first, int second)
    {
        if (first - LeadBase is >= 0 and < LeadCount && second - VowelBase is >= 0 and < VowelCount)
        {
            return HangulBase + ((((first - LeadBase) * VowelCount) + second - VowelBase) * TrailCount);
        }

        if (first - HangulBase is >= 0 and < HangulCount && (first - HangulBase) % TrailCount == 0
            && second - TrailBase is > 0 and < TrailCount)
        {
            return first + second - TrailBase;
        }

        return second >= 0x300 && Tables.Value.Compositions.TryGetValue((first, second), out int composed) ? composed : null;
    }

    private sealed record Data(
        Dictionary<int, int> Classes,
        Dictionary<int, (bool Compatible, int[] Parts)> Decompositions,
        Dictionary<(int First, int Second), int> Compositions)
    {
        public static Data Load()
        {
            Data data = new([], [], []);
            using Stream stream = typeof(UnicodeNormalization).Assembly.GetManifestResourceStream("normalization.txt")!;
            using StreamReader reader = new(stream);
            while (reader.ReadLine() is { } line)
            {
                string[] words = line.Split(' ');
                if (words[0] == "ccc")
                {
                    data.AddClass(int.Parse(words[1], CultureInfo.InvariantCulture), words[2..]);
                }
                else if (words[0] != "#")
                {
                    int[] parts = [.. words[1..].Select(word => Hex(word.TrimStart('~', '!')))];
                    data.AddDecomposition(Hex(words[0]), words[1][0], parts);
                }
            }

            return data;
        }

        private static int Hex(string digits) => int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

        private void AddClass(int kind, string[] ranges)
        {
            foreach (string range in ranges)
            {
                string[] ends = range.Split('-');
                for (int rune = Hex(ends[0]); rune <= Hex(ends[^1]); rune++)
                {
                    Classes.Add(rune, kind);
                }
            }
        }

        private void AddDecomposition(int rune, char mark, int[] parts)
        {
            Decompositions.Add(rune, (mark == '~', parts));
            if (mark is not ('~' or '!') && parts.Length == 2)
            {
                Compositions.Add((parts[0], parts[1]), rune);
            }
        }
    }
}
