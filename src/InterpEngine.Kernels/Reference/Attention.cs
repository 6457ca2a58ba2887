namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Attention op)
    {
        Attention o = op;
        int queries = o.Q.Shape[1], heads = o.Q.Shape[2];
        ForEach(o.Q.Shape[0] * heads, pair =>
        {
            float[] scores = new float[o.Keys], pattern = new float[o.Keys];
            for (int query = 0; query < queries; query++)
            {
                Attend(in o, pair / heads, pair % heads, query, scores, pattern);
            }
        });
    }

    private static void Attend(in Attention op, int batch, int head, int query, Span<float> scores, Span<float> pattern)
    {
        int queries = op.Q.Shape[1], heads = op.Q.Shape[2];
        (int first, int end) = VisibleKeys(in op, batch, query);
        int visible = end - first;
        long square = (((long)batch * heads + head) * queries + query) * op.Keys;
        bool patternWanted = op.Pattern is not null || op.Z is not null;

        if (op.Scores is not null || (patternWanted && op.GivenPattern is null))
        {
            scores.Fill(float.NegativeInfinity);
            Span<float> seen = scores.Slice(first, visible);
            if (op.GivenScores is { } given)
            {
                Row(given, square).Slice(first, visible).CopyTo(seen);
            }
            else
            {
                ComputeScores(in op, batch, head, query, first, seen);
            }

            if (op.Scores is { } wanted)
            {
                scores.CopyTo(Row(wanted, square));
            }
        }

        if (patternWanted)
        {
            pattern.Clear();
            Span<float> seen = pattern.Slice(first, visible);
            if (op.GivenPattern is { } given)
            {
                Row(given, square).Slice(first, visible).CopyTo(seen);
            }
            else
            {
                Softmax(scores.Slice(first, visible), op.Sinks is { } sinks ? All<float>(sinks)[head] : null, seen);
            }

            if (op.Pattern is { } wanted)
            {
                pattern.CopyTo(Row(wanted, square));
            }

            if (op.Z is { } z)
            {
                Mix(in op, batch, head, first, seen, Row(z, (((long)batch * queries + query) * heads + head) * z.Shape[3]));
            }
        }
    }

    private static (int First, int End) VisibleKeys(in Attention op, int batch, int query)
    {
        int first = All<int>(op.Spans)[2 * batch], end = All<int>(op.Spans)[2 * batch + 1];
        int position = query + op.Keys - op.Q.Shape[1];
        if (position < first || position >= end)
        {
            return (0, 0);
        }

        int reach = op.Window > 0 ? op.Window : op.Keys;
        return (Math.Max(first, position - reach + 1), op.Causal ? position + 1 : (int)Math.Min(end, (long)position + reach));
    }

    private static void ComputeScores(in Attention op, int batch, int head, int query, int first, Span<float> scores)
    {
        ReadOnlySpan<float> q = Row(op.Q, (((long)batch * op.Q.Shape[1] + query) * op.Q.Shape[2] + head) * op.Q.Shape[3]);
        double slope = op.Slopes is { } slopes ? All<float>(slopes)[head] : 0;
        int distance = first - All<int>(op.Spans)[2 * batch];
        for (int j = 0; j < scores.Length; j++)
        {
            double score = Dot(q, HeadOf(op.K, op.Q.Shape[2], batch, first + j, head)) * op.Scale;
            score = op.SoftCap > 0 ? op.SoftCap * Math.Tanh(score / op.SoftCap) : score;
            scores[j] = (float)(score + slope * (distance + j));
        }
    }

    private static void Softmax(ReadOnlySpan<float> scores, float? sink, Span<float> pattern)
    {
        (double max, double sum) = MaxAndSum(scores, sink ?? double.NegativeInfinity);
        sum += sink is { } score ? Math.Exp(score - max) : 0;
        for (int j = 0; j < scores.Length; j++)
        {
            pattern[j] = (float)(Math.Exp(scores[j] - max) / sum);
        }
    }

    /// <summary>Z of one query and head: the visible values, weighted by the pattern.</summary>
    private static void Mix(in Attention op, int batch, int head, int first, ReadOnlySpan<float> pattern, Span<float> z)
    {
        double[] sums = new double[z.Length];
        for (int j = 0; j < pattern.Length; j++)
        {
            ReadOnlySpan<float> value = HeadOf(op.V, op.Q.Shape[2], batch, first + j, head);
            for (int i = 0; i < sums.Length; i++)
            {
                sums[i] += (double)pattern[j] * value[i];
            }
        }

        Round(sums, z);
    }

    /// <summary>The key or value that a query head reads, where several heads may share one.</summary>
    private static Span<float> HeadOf(Tensor cache, int heads, int batch, int position, int head)
    {
        Shape shape = cache.Shape;
        int shared = head / (heads / shape[2]);
        return Row(cache, (((long)batch * shape[1] + position) * shape[2] + shared) * shape[3]);
    }

    /// <summary>The largest element, at least <paramref name="max"/>, and the sum of e^(x − largest). A NaN reaches the sum.</summary>
    private static (double Max, double Sum) MaxAndSum(ReadOnlySpan<float> row, double max = double.NegativeInfinity)
    {
        double sum = 0;
        foreach (float value in row)
        {
            max = Math.Max(max, value);
        }

        foreach (float value in row)
        {
            sum += Math.Exp(value - max);
        }

        return (max, sum);
    }
}
