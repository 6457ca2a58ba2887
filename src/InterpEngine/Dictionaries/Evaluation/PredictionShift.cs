using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>How well logits predict the next tokens, and how far they are from others; in nats, in double precision.</summary>
internal sealed class PredictionShift
{
    /// <summary>Rows of logits that are on the host at a time.</summary>
    private const int RowsAtOnce = 64;

    /// <param name="logits">[batch, positions, vocabulary].</param>
    /// <param name="tokens">What was run.</param>
    /// <param name="reference">Logits to be compared with, or null.</param>
    public PredictionShift(Tensor logits, TokenBatch tokens, Tensor? reference)
    {
        int rows = tokens.Batch * tokens.Length, vocabulary = logits.Shape[^1];
        (CrossEntropy, Divergence) = (new double[rows], reference is null ? [] : new double[rows]);
        using Tensor flat = logits.Reshape(rows, vocabulary);
        using Tensor? flatReference = reference?.Reshape(rows, vocabulary);
        for (int start = 0; start < rows; start += RowsAtOnce)
        {
            int count = Math.Min(RowsAtOnce, rows - start), first = start;
            float[] q = Rows(flat, start, count), p = flatReference is null ? [] : Rows(flatReference, start, count);
            Parallel.For(0, count, i =>
            {
                double[] changed = LogSoftmax(q.AsSpan(i * vocabulary, vocabulary));
                int next = Next(tokens, first + i);
                CrossEntropy[first + i] = next < 0 ? double.NaN : -changed[next];
                if (p.Length > 0)
                {
                    Divergence[first + i] = DivergenceFrom(LogSoftmax(p.AsSpan(i * vocabulary, vocabulary)), changed);
                }
            });
        }
    }

    /// <summary>[batch · positions]: −log of the next token's probability; NaN where no real token follows.</summary>
    public double[] CrossEntropy { get; }

    /// <summary>[batch · positions]: Σ p (log p − log q), p from the reference; empty without one.</summary>
    public double[] Divergence { get; }

    /// <summary>The token after a position; −1 where none follows.</summary>
    private static int Next(TokenBatch tokens, int at)
    {
        (int row, int position) = Math.DivRem(at, tokens.Length);
        (int first, int end) = tokens.Spans[row];
        return position >= first && position + 1 < end ? tokens.Ids[at + 1] : -1;
    }

    private static float[] Rows(Tensor tensor, int start, int count)
    {
        using Tensor part = tensor.Slice(start, count);
        return part.ToArray<float>();
    }

    private static double[] LogSoftmax(ReadOnlySpan<float> logits)
    {
        double largest = double.NegativeInfinity, sum = 0;
        foreach (float logit in logits)
        {
            largest = Math.Max(largest, logit);
        }

        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - largest);
        }

        double shift = largest + Math.Log(sum);
        var result = new double[logits.Length];
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = logits[i] - shift;
        }

        return result;
    }

    private static double DivergenceFrom(double[] logP, double[] logQ)
    {
        double sum = 0;
        for (int i = 0; i < logP.Length; i++)
        {
            double p = Math.Exp(logP[i]);
            sum += p > 0 ? p * (logP[i] - logQ[i]) : 0;
        }

        return sum;
    }
}
