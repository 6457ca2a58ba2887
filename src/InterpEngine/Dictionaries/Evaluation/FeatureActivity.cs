using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>
/// What each feature does over texts: how often it is active and how much, on which tokens, and examples. Texts pass by; what is kept does
/// not grow with them: some <c>options.Top + options.Drawn</c> windows of tokens for each feature that is ever active. A sequence gives a
/// feature one example at most, at its peak there.
/// </summary>
public sealed class FeatureActivity
{
    private readonly ActivityOptions _options;
    private readonly Kept?[] _kept;
    private readonly Random _random;
    private readonly float[] _peak;
    private readonly int[] _peakAt;
    private readonly List<int> _seen = [];
    private long _sequences;

    /// <param name="features">How many features.</param>
    /// <param name="options">What is kept.</param>
    public FeatureActivity(int features, ActivityOptions? options = null)
    {
        _options = options ?? new ActivityOptions();
        (_kept, _peak, _peakAt) = (new Kept?[features], new float[features], new int[features]);
        (Use, _random) = (new FeatureUse(features), new Random(_options.Seed));
    }

    /// <summary>How often each feature was active.</summary>
    public FeatureUse Use { get; }

    /// <summary>Counts a batch.</summary>
    /// <param name="tokens">What was run.</param>
    /// <param name="activations">[tokens · rows of each, features].</param>
    /// <param name="ignored">Tokens that do not count, or null; they are shown without activations.</param>
    public void Add(TokenBatch tokens, SparseRows activations, IReadOnlySet<int>? ignored = null)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentNullException.ThrowIfNull(activations);
        int rowsPerToken = activations.Rows / (tokens.Batch * tokens.Length);
        bool Counts(int token)
        {
            (int sequence, int position) = Math.DivRem(token, tokens.Length);
            (int first, int end) = tokens.Spans[sequence];
            return position >= first && position < end && ignored?.Contains(tokens.Ids[token]) != true;
        }

        Use.Add(activations, tokens.Length * rowsPerToken, row => Counts(row / rowsPerToken));
        var rows = new Rows(tokens, activations, rowsPerToken, Counts);
        for (int sequence = 0; sequence < tokens.Batch; sequence++)
        {
            Look(rows, sequence);
        }
    }

    /// <summary>Where a feature was most active, the strongest first.</summary>
    public IReadOnlyList<FeatureExample> Top(int feature) => _kept[feature]?.Top ?? [];

    /// <summary>Places drawn at random from those where it was active, the strongest first.</summary>
    public IReadOnlyList<FeatureExample> Drawn(int feature) =>
        _kept[feature] is { } kept ? [.. kept.Drawn.OrderByDescending(example => MathF.Abs(example.Value))] : [];

    /// <summary>How strong its activations were; null if it had none.</summary>
    public ActivationHistogram? Histogram(int feature) => _kept[feature]?.Histogram;

    /// <summary>The tokens at which it was active, and the share of its summed activation that each has at least, the largest
    /// first.</summary>
    public IReadOnlyList<(int Token, double Share)> Tokens(int feature, int count) => _kept[feature]?.Tokens.Top(count) ?? [];

    private void Look(Rows rows, int sequence)
    {
        (int first, int end) = rows.Tokens.Spans[sequence];
        for (int position = first; position < end; position++)
        {
            int token = sequence * rows.Tokens.Length + position;
            foreach ((int feature, float value) in rows.Of(token))
            {
                Kept kept = _kept[feature] ??= new Kept();
                kept.Histogram.Add(value);
                kept.Tokens.Add(rows.Tokens.Ids[token], MathF.Abs(value));
                if (_peak[feature] == 0)
                {
                    _seen.Add(feature);
                }

                if (MathF.Abs(value) > MathF.Abs(_peak[feature]))
                {
                    (_peak[feature], _peakAt[feature]) = (value, position);
                }
            }
        }

        foreach (int feature in _seen)
        {
            Keep(rows, sequence, feature);
            _peak[feature] = 0;
        }

        _seen.Clear();
        _sequences++;
    }

    private void Keep(Rows rows, int sequence, int feature)
    {
        Kept kept = _kept[feature]!;
        float value = _peak[feature];
        bool strong = kept.Top.Count < _options.Top || (_options.Top > 0 && MathF.Abs(value) > MathF.Abs(kept.Top[^1].Value));

        // Each of the n sequences so far stays with the same chance (Vitter's algorithm R, 1985).
        long place = kept.Drawn.Count < _options.Drawn ? kept.Drawn.Count : _random.NextInt64(kept.Sequences + 1);
        kept.Sequences++;
        bool drawn = place < _options.Drawn;
        if (!strong && !drawn)
        {
            return;
        }

        FeatureExample example = Example(rows, sequence, feature);
        if (drawn && place == kept.Drawn.Count)
        {
            kept.Drawn.Add(example);
        }
        else if (drawn)
        {
            kept.Drawn[(int)place] = example;
        }

        // The same words again tell nothing new.
        if (strong && !kept.Top.Exists(other => other.Value == value && other.Tokens.SequenceEqual(example.Tokens)))
        {
            int at = kept.Top.FindIndex(other => MathF.Abs(other.Value) < MathF.Abs(value));
            kept.Top.Insert(at < 0 ? kept.Top.Count : at, example);
            if (kept.Top.Count > _options.Top)
            {
                kept.Top.RemoveAt(_options.Top);
            }
        }
    }

    private FeatureExample Example(Rows rows, int sequence, int feature)
    {
        (int first, int end) = rows.Tokens.Spans[sequence];
        int peak = _peakAt[feature], from = Math.Max(first, peak - _options.Before), to = Math.Min(end, peak + _options.After + 1);
        int offset = sequence * rows.Tokens.Length;
        return new FeatureExample(
            _peak[feature], _sequences, peak - first, from - first, rows.Tokens.Ids[(offset + from)..(offset + to)].ToArray(),
            [.. Enumerable.Range(offset + from, to - from).Select(token => rows.Value(token, feature))]);
    }

    /// <summary>What is kept of a feature.</summary>
    private sealed class Kept
    {
        public ActivationHistogram Histogram { get; } = new();

        public FrequentTokens Tokens { get; } = new();

        public List<FeatureExample> Top { get; } = [];

        public List<FeatureExample> Drawn { get; } = [];

        /// <summary>In which it was active.</summary>
        public long Sequences { get; set; }
    }

    /// <summary>A batch's activations on the host.</summary>
    private sealed class Rows(TokenBatch tokens, SparseRows activations, int rowsPerToken, Func<int, bool> counts)
    {
        private readonly (int[] Pointers, int[] Features, float[] Values) _entries = activations.ToArrays();

        public TokenBatch Tokens => tokens;

        /// <summary>The active features of a token; none where it does not count.</summary>
        public IEnumerable<(int Feature, float Value)> Of(int token)
        {
            if (!counts(token))
            {
                yield break;
            }

            int end = _entries.Pointers[(token + 1) * rowsPerToken];
            for (int entry = _entries.Pointers[token * rowsPerToken]; entry < end; entry++)
            {
                yield return (_entries.Features[entry], _entries.Values[entry]);
            }
        }

        /// <summary>A feature's activation at a token: of its rows, the strongest.</summary>
        public float Value(int token, int feature)
        {
            float strongest = 0;
            for (int row = token * rowsPerToken; counts(token) && row < (token + 1) * rowsPerToken; row++)
            {
                int begin = _entries.Pointers[row];
                int at = Array.BinarySearch(_entries.Features, begin, _entries.Pointers[row + 1] - begin, feature);
                strongest = at >= 0 && MathF.Abs(_entries.Values[at]) > MathF.Abs(strongest) ? _entries.Values[at] : strongest;
            }

            return strongest;
        }
    }
}
