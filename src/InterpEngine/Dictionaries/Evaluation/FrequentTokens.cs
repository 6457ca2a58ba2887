namespace InterpEngine.Dictionaries;

/// <summary>
/// The tokens that weigh most in a long stream, in a bounded number of counters: a token that finds none free takes the lightest one
/// over, with its weight as a possible error (SpaceSaving: Metwally, Agrawal and El Abbadi, 2005).
/// </summary>
internal sealed class FrequentTokens
{
    private const int Most = 128;
    private readonly Dictionary<int, (double Weight, double Error)> _counters = [];
    private double _total;

    /// <summary>Counts a token.</summary>
    public void Add(int token, double weight)
    {
        _total += weight;
        if (_counters.TryGetValue(token, out (double Weight, double Error) counter))
        {
            _counters[token] = (counter.Weight + weight, counter.Error);
            return;
        }

        double taken = 0;
        if (_counters.Count == Most)
        {
            (int lightest, (taken, _)) = _counters.MinBy(entry => (entry.Value.Weight, entry.Key));
            _counters.Remove(lightest);
        }

        _counters[token] = (taken + weight, taken);
    }

    /// <summary>The heaviest, and the share of the whole weight that each has at least.</summary>
    public (int Token, double Share)[] Top(int count) =>
        [.. _counters.Select(entry => (Token: entry.Key, Share: (entry.Value.Weight - entry.Value.Error) / _total))
            .OrderByDescending(entry => entry.Share).ThenBy(entry => entry.Token).Take(count)];
}
