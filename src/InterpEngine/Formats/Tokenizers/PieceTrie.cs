using System.Buffers;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>Finds which of many strings begin at a place of a text.</summary>
internal sealed class PieceTrie
{
    private readonly Dictionary<(int Node, char Next), int> _edges = [];
    private readonly List<int?> _values = [null];
    private readonly SearchValues<char> _firsts;

    public PieceTrie(IEnumerable<(string Text, int Value)> pieces)
    {
        HashSet<char> firsts = [];
        foreach ((string text, int value) in pieces)
        {
            int node = 0;
            foreach (char next in text)
            {
                if (!_edges.TryGetValue((node, next), out int child))
                {
                    child = _values.Count;
                    _edges.Add((node, next), child);
                    _values.Add(null);
                }

                node = child;
            }

            if (node != 0)
            {
                firsts.Add(text[0]);
                _values[node] = value;
            }
        }

        _firsts = SearchValues.Create([.. firsts]);
    }

    /// <summary>All strings that the text begins with, shortest first.</summary>
    public void Prefixes(ReadOnlySpan<char> text, List<(int Length, int Value)> found)
    {
        int node = 0;
        for (int i = 0; i < text.Length && _edges.TryGetValue((node, text[i]), out node); i++)
        {
            if (_values[node] is int value)
            {
                found.Add((i + 1, value));
            }
        }
    }

    /// <summary>The leftmost match at or after a place, the longest of those that begin there; or null.</summary>
    public (int Start, int Length, int Value)? Find(ReadOnlySpan<char> text, int from)
    {
        List<(int Length, int Value)> found = [];
        for (int start = from; start < text.Length; start++)
        {
            int skip = text[start..].IndexOfAny(_firsts);
            if (skip < 0)
            {
                return null;
            }

            start += skip;
            Prefixes(text[start..], found);
            if (found.Count > 0)
            {
                return (start, found[^1].Length, found[^1].Value);
            }
        }

        return null;
    }
}
