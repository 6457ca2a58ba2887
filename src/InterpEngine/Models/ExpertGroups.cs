namespace InterpEngine.Models;

/// <summary>
/// The choices of a router, grouped by expert, so that each expert runs as an ordinary product over its own rows and over no others.
/// </summary>
internal sealed class ExpertGroups
{
    private readonly int[] _starts;

    /// <summary>Groups choices.</summary>
    /// <param name="indices">[rows, k]: each row's experts. A negative one is no choice.</param>
    /// <param name="k">Choices of each row.</param>
    /// <param name="experts">Experts.</param>
    public ExpertGroups(ReadOnlySpan<int> indices, int k, int experts)
    {
        _starts = new int[experts + 1];
        foreach (int expert in indices)
        {
            if (expert >= 0)
            {
                _starts[expert + 1]++;
            }
        }

        for (int expert = 0; expert < experts; expert++)
        {
            _starts[expert + 1] += _starts[expert];
        }

        (Rows, Places) = (new int[_starts[^1]], new int[indices.Length]);
        int[] next = _starts[..^1];
        for (int choice = 0; choice < indices.Length; choice++)
        {
            int place = indices[choice] < 0 ? -1 : next[indices[choice]]++;
            Places[choice] = place;
            if (place >= 0)
            {
                Rows[place] = choice / k;
            }
        }
    }

    /// <summary>For each place among the grouped choices, the row that stands there: what to gather.</summary>
    public int[] Rows { get; }

    /// <summary>[rows, k]: the place of each choice, −1 for none: what to combine by.</summary>
    public int[] Places { get; }

    /// <summary>The first place of each expert's rows, and the number of places.</summary>
    public ReadOnlyMemory<int> Starts => _starts;
}
