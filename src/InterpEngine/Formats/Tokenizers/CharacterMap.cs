using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// SentencePiece's precompiled character map: a double-array trie from byte sequences to places in a list of replacements.
/// Its layout: the trie's size in bytes, the trie's units (32 bits, little-endian), then the replacements, each ended by a NUL.
/// </summary>
internal sealed class CharacterMap
{
    /// <summary>Grapheme clusters of this many UTF-8 bytes or more are mapped character by character.</summary>
    private const int LongCluster = 6;

    private readonly uint[] _units;
    private readonly byte[] _replacements;

    public CharacterMap(JsonField field)
    {
        byte[] data;
        try
        {
            data = Convert.FromBase64String(field.AsString());
        }
        catch (FormatException error)
        {
            throw field.Fail("the character map is no base64", inner: error);
        }

        uint size = data.Length < 4 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(data);
        if (data.Length < 4 || size % 4 != 0 || size > data.Length - 4)
        {
            throw field.Fail($"a character map of {data.Length} bytes cannot hold a trie of {size}");
        }

        _units = new uint[size / 4];
        for (int i = 0; i < _units.Length; i++)
        {
            _units[i] = BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(4 + (4 * i)));
        }

        _replacements = data[(4 + (int)size)..];
    }

    /// <summary>Maps each grapheme cluster, or where the map does not know it, each of its characters.</summary>
    public NormalizedText Normalize(NormalizedText text)
    {
        List<Edit> edits = new(text.Text.Length);
        bool modified = false;
        ReadOnlySpan<char> rest = text.Text;
        while (rest.Length > 0)
        {
            ReadOnlySpan<char> cluster = rest[..StringInfo.GetNextTextElementLength(rest)];
            rest = rest[cluster.Length..];
            if (System.Text.Encoding.UTF8.GetByteCount(cluster) < LongCluster && Find(cluster) is { } whole)
            {
                Replace(edits, Runes(cluster), whole);
                modified = true;
                continue;
            }

            foreach (Rune rune in cluster.EnumerateRunes())
            {
                if (Find(rune.ToString()) is { } single)
                {
                    Replace(edits, 1, single);
                    modified = true;
                }
                else
                {
                    edits.Add(new Edit(rune.Value, 0));
                }
            }
        }

        return modified ? text.Transform(edits) : text;
    }

    /// <summary>The replacement of the shortest known beginning, or null: the reference takes the first that it finds.</summary>
    private string? Find(ReadOnlySpan<char> text)
    {
        Span<byte> bytes = stackalloc byte[LongCluster];
        bytes = bytes[..System.Text.Encoding.UTF8.GetBytes(text, bytes)];
        uint node = 0;
        node ^= Offset(Unit(node));
        foreach (byte value in bytes)
        {
            node ^= value;
            uint unit = Unit(node);
            if (value == 0 || (unit & 0x800000FF) != value)
            {
                return null;
            }

            node ^= Offset(unit);
            if ((unit >> 8 & 1) != 0)
            {
                int start = (int)Math.Min(Unit(node) & 0x7FFFFFFF, (uint)_replacements.Length);
                ReadOnlySpan<byte> tail = _replacements.AsSpan(start);
                int end = tail.IndexOf((byte)0);
                return System.Text.Encoding.UTF8.GetString(end < 0 ? tail : tail[..end]);
            }
        }

        return null;
    }

    // A broken trie may point anywhere; what lies outside leads nowhere.
    private uint Unit(uint node) => node < _units.Length ? _units[node] : 0;

    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & (1 << 9)) >> 6);

    private static int Runes(ReadOnlySpan<char> text)
    {
        int count = 0;
        foreach (Rune _ in text.EnumerateRunes())
        {
            count++;
        }

        return count;
    }

    private static void Replace(List<Edit> edits, int oldCount, string replacement)
    {
        int newCount = 0;
        foreach (Rune rune in replacement.EnumerateRunes())
        {
            edits.Add(new Edit(rune.Value, newCount < oldCount ? 0 : 1));
            newCount++;
        }

        if (newCount < oldCount && edits.Count > 0)
        {
            edits[^1] = edits[^1] with { Change = edits[^1].Change + newCount - oldCount };
        }
    }
}
