using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>What is kept of features over texts, against a plain count over all of them.</summary>
public sealed class FeatureActivityTests : IDisposable
{
    private const int Features = 12, Vocabulary = 300;
    private static readonly HashSet<int> s_ignored = [0];
    private readonly Device _device = Device.Reference();

    public void Dispose() => _device.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    public void What_is_kept_is_what_a_plain_count_finds(int atOnce)
    {
        (int[][] sequences, float[][,] activations) = Draw(40);
        var activity = new FeatureActivity(Features, new() { Top = 3, Drawn = 2, Before = 2, After = 1 });
        Count(activity, sequences, activations, atOnce);
        for (int f = 0; f < Features; f++)
        {
            var peaks = (from s in Enumerable.Range(0, sequences.Length)
                         let best = Enumerable.Range(0, sequences[s].Length).Where(p => sequences[s][p] != 0)
                             .Select(p => (Value: activations[s][p, f], Position: p)).OrderByDescending(at => at.Value).First()
                         where best.Value > 0
                         select (best.Value, Sequence: s, best.Position)).OrderByDescending(peak => peak.Value).ToArray();
            Assert.Equal(peaks.Take(3).Select(peak => (peak.Value, (long)peak.Sequence, peak.Position)),
                activity.Top(f).Select(example => (example.Value, example.Sequence, example.Position)));
            foreach (FeatureExample example in activity.Top(f).Concat(activity.Drawn(f)))
            {
                int[] sequence = sequences[example.Sequence];
                int first = Math.Max(0, example.Position - 2), end = Math.Min(sequence.Length, example.Position + 2);
                Assert.Equal(first, example.First);
                Assert.Equal(sequence[first..end], example.Tokens);
                Assert.Equal(
                    Enumerable.Range(first, end - first).Select(p => sequence[p] == 0 ? 0 : activations[example.Sequence][p, f]),
                        example.Activations);
                Assert.Contains((example.Value, (int)example.Sequence, example.Position), peaks);
            }

            float[] all = [.. from s in Enumerable.Range(0, sequences.Length) from p in Enumerable.Range(0, sequences[s].Length)
                              where sequences[s][p] != 0 && activations[s][p, f] > 0 select activations[s][p, f]];
            Assert.Equal(Math.Min(2, peaks.Length), activity.Drawn(f).Count);
            Assert.Equal((all.Length, all.Max()), (activity.Histogram(f)!.Count, activity.Histogram(f)!.Max));
            Assert.Equal((double)all.Length / sequences.Sum(s => s.Count(token => token != 0)), activity.Use.Density[f], 1e-12);
        }
    }

    [Fact]
    public void What_is_kept_does_not_depend_on_batches()
    {
        (int[][] sequences, float[][,] activations) = Draw(60);
        string[] kept = [.. new[] { 1, 7, 60 }.Select(atOnce =>
        {
            var activity = new FeatureActivity(Features);
            Count(activity, sequences, activations, atOnce);
            return string.Join('\n', Enumerable.Range(0, Features).SelectMany(f => activity.Top(f).Concat(activity.Drawn(f)))
                .Select(example => $"{example.Sequence} {example.Position} {string.Join(' ', example.Activations)}"));
        })];
        Assert.Single(kept.Distinct());
    }

    [Fact]
    public void The_same_words_are_shown_once_and_a_feature_that_never_fires_has_nothing()
    {
        var activity = new FeatureActivity(2);
        float[,] one = new float[3, 2];
        one[1, 0] = 2;
        Count(activity, [.. Enumerable.Repeat((int[])[5, 6, 7], 9)], [.. Enumerable.Repeat(one, 9)], 3);
        Assert.Single(activity.Top(0));
        Assert.Equal((6, 1.0), activity.Tokens(0, 4).Single());
        Assert.Empty(activity.Top(1));
        Assert.Empty(activity.Tokens(1, 4));
        Assert.Null(activity.Histogram(1));
    }

    [Fact]
    public void A_histogram_grows_with_its_values()
    {
        var histogram = new ActivationHistogram();
        float[] values = [0.1f, 0.2f, 3, 700, 701, -5, float.PositiveInfinity];
        Array.ForEach(values[..6], histogram.Add);
        (float width, int[] counts) = histogram.Shown(16);
        Assert.Equal(6, counts.Sum());
        Assert.Equal(2, counts[(int)(700 / width)]);
        Assert.Equal(4, counts[0]);
        Assert.InRange(counts.Length, 8, 16);
        histogram.Add(values[^1]);
        Assert.Equal(7, histogram.Shown(64).Counts.Sum());
    }

    [Fact]
    public void Frequent_tokens_are_exact_while_counters_last_and_never_too_high()
    {
        var tokens = new FrequentTokens();
        var random = new Random(3);
        var exact = new Dictionary<int, double>();
        double total = 0;
        for (int i = 0; i < 20000; i++)
        {
            int token = i % 3 == 0 ? 7 : random.Next(1000);
            double weight = random.NextDouble();
            tokens.Add(token, weight);
            exact[token] = exact.GetValueOrDefault(token) + weight;
            total += weight;
            if (exact.Count == 100)
            {
                (int first, double share) = tokens.Top(1)[0];
                Assert.Equal(exact[first] / total, share, 1e-12);
            }
        }

        (int Token, double Share)[] top = tokens.Top(10);
        Assert.Equal(7, top[0].Token);
        Assert.All(top, entry => Assert.InRange(entry.Share, 0, exact[entry.Token] / total + 1e-12));
        Assert.InRange(top[0].Share, 0.9 * exact[7] / total, 1);
    }

    private void Count(FeatureActivity activity, int[][] sequences, float[][,] activations, int atOnce)
    {
        for (int start = 0; start < sequences.Length; start += atOnce)
        {
            int[][] some = [.. sequences.Skip(start).Take(atOnce)];
            TokenBatch tokens = TokenBatch.LeftPadded(some);
            var rows = new SortedDictionary<int, float>[tokens.Batch * tokens.Length];
            for (int i = 0; i < rows.Length; i++)
            {
                (int s, int at) = Math.DivRem(i, tokens.Length);
                int position = at - tokens.Spans[s].First, features = activations[0].GetLength(1);
                // At padding anything may stand.
                rows[i] = new(Enumerable.Range(0, features).Where(f => position < 0 || activations[start + s][position, f] > 0)
                    .ToDictionary(f => f, f => position < 0 ? 99f : activations[start + s][position, f]));
            }

            using SparseRows sparse = SparseRowsEditing.FromRows(_device, activations[0].GetLength(1), rows);
            activity.Add(tokens, sparse, s_ignored);
        }
    }

    private static (int[][] Sequences, float[][,] Activations) Draw(int count)
    {
        var random = new Random(5);
        int[][] sequences = [.. Enumerable.Range(0, count).Select(_ =>
            Enumerable.Range(0, random.Next(2, 9)).Select(_ => random.Next(Vocabulary) / 2).ToArray())];
        return (sequences, [.. sequences.Select(sequence =>
        {
            var values = new float[sequence.Length, Features];
            for (int p = 0; p < sequence.Length; p++)
            {
                for (int f = 0; f < Features; f++)
                {
                    values[p, f] = random.Next(3) == 0 ? random.NextSingle() + 0.01f : 0;
                }
            }

            return values;
        })]);
    }
}
