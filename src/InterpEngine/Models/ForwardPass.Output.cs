using InterpEngine.Hooks;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>From the residual stream after the last block to what was asked for.</summary>
internal sealed partial class ForwardPass
{
    /// <summary>Whether anyone looks at the final norm.</summary>
    private bool FinalNormIsObserved => FinalPoints is var (scale, normalized) && (_hooks.Wants(scale, 0) || _hooks.Wants(normalized, 0));

    private (HookKind Scale, HookKind Normalized) FinalPoints => _description.HeadTransform
        ? (HookKind.MlmHeadLnScale, HookKind.MlmHeadLnNormalized)
        : (HookKind.LnFinalScale, HookKind.LnFinalNormalized);

    /// <summary>The final norm, the logits and what is read off them. Takes the residual stream over.</summary>
    public RunResult Finish(Tensor residual, RunOptions options)
    {
        PredictionOptions? wanted = options.Predictions;
        bool readsLast = wanted is { LastOnly: true }, readsAll = wanted is { LastOnly: false } || options.Loss;
        bool last = readsLast || options.Logits == LogitsWanted.Last, all = readsAll || options.Logits == LogitsWanted.All;
        if (!last && !all && !FinalNormIsObserved)
        {
            residual.Dispose();
            return new RunResult { Cache = _hooks.Cache };
        }

        using Tensor normed = FinalNorm(residual, lastOnly: last && !all);
        using Tensor? lastNormed = !last ? null : all ? LastTokens(normed) : normed.Share();
        Tensor? logits = options.Logits switch
        {
            LogitsWanted.All => Unembed(normed),
            LogitsWanted.Last => Unembed(lastNormed!),
            _ => null,
        };
        try
        {
            int[]? next = !options.Loss ? null : options.Labels is { } labels ? Real(labels) : NextTokens();
            Tensor? allLogits = options.Logits == LogitsWanted.All ? logits : null, lastLogits = allLogits is null ? logits : null;
            LogitReader? reader = readsAll ? Read(normed, allLogits, readsLast ? null : wanted, next) : null;
            LogitReader? lastReader = readsLast ? Read(lastNormed!, lastLogits, wanted, null) : null;
            if (allLogits is not null)
            {
                ZeroPadding(allLogits);
            }

            return new RunResult
            {
                Logits = logits,
                Predictions = wanted is null ? null
                    : readsLast ? new Predictions(lastReader!, _batch, 1, (_, _) => true)
                    : new Predictions(reader!, _batch, _length, (row, i) => _inputs.Positions[row * _length + i] >= 0),
                Loss = next is null ? null : Loss(reader!.NextLogProbabilities, next),
                NextTokenLogProbabilities = next is null || options.Labels is not null ? null : NextTokenLogProbabilities(reader!.NextLogProbabilities, next),
                Cache = _hooks.Cache,
            };
        }
        catch
        {
            logits?.Dispose();
            throw;
        }
    }

    /// <summary>Reads off the logits, which are made some rows at a time where nobody keeps them.</summary>
    private LogitReader Read(Tensor normed, Tensor? logits, PredictionOptions? wanted, int[]? next)
    {
        int count = checked((int)normed.Shape.Rows), vocabulary = _description.Vocabulary;
        using Tensor rows = normed.Reshape(count, _description.Width);
        using Tensor? whole = logits?.Reshape(count, vocabulary);
        return LogitReader.Read(_device, count, vocabulary, Part, wanted?.Top ?? 0, [.. wanted?.Tokens ?? []], next);

        Tensor Part(int start, int length)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (whole is not null)
            {
                return whole.Slice(start, length);
            }

            using Tensor part = rows.Slice(start, length);
            return Unembed(part);
        }
    }

    /// <summary>[batch · positions]: the token after each real one; −1 at a sequence's last and at padding.</summary>
    private int[] NextTokens()
    {
        var next = new int[_batch * _length];
        next.AsSpan().Fill(-1);
        for (int row = 0; row < _batch; row++)
        {
            (int first, int end) = _tokens.Spans[row];
            int start = row * _length + first;
            _tokens.Ids.Slice(start + 1, end - first - 1).CopyTo(next.AsSpan(start));
        }

        return next;
    }

    /// <summary>The labels of real tokens.</summary>
    private int[] Real(IReadOnlyList<int> labels) => [.. labels.Select((label, i) => _inputs.Positions[i] < 0 ? -1 : label)];

    private static double Loss(float[] values, int[] next) =>
        -values.Where((_, i) => next[i] >= 0).Sum(value => (double)value) / next.Count(token => token >= 0);

    private float[,] NextTokenLogProbabilities(float[] values, int[] next)
    {
        var result = new float[_batch, _length - 1];
        for (int row = 0; row < _batch; row++)
        {
            for (int position = 0; position < _length - 1; position++)
            {
                int i = row * _length + position;
                result[row, position] = next[i] < 0 ? float.NaN : values[i];
            }
        }

        return result;
    }

    /// <summary>The final norm, and what stands before it. Takes the residual stream over.</summary>
    /// <param name="residual">The residual stream after the last block.</param>
    /// <param name="lastOnly">Whether only each sequence's last real token is wanted, if no hook looks at the norm.</param>
    /// <returns>[batch, positions, d], or [batch, 1, d] of the last tokens.</returns>
    private Tensor FinalNorm(Tensor residual, bool lastOnly)
    {
        _cancellation.ThrowIfCancellationRequested();
        using Tensor rows = lastOnly && !FinalNormIsObserved ? LastTokens(residual) : residual.Share();
        residual.Dispose();
        using Tensor head = _weights.HeadOf(rows, _description);
        ElementType type = OperandOf(_weights.UnembeddingProjection ?? _weights.Unembed);
        Tensor normed =
            _weights.LnFinal is { } norm ? Norm(head, norm, FinalPoints.Scale, FinalPoints.Normalized, 0, type: type) : head.Share();
        if (!lastOnly || !FinalNormIsObserved)
        {
            return normed;
        }

        using (normed)
        {
            return LastTokens(normed);
        }
    }

    /// <summary>The unembedding: [.., d] to [.., vocabulary].</summary>
    private Tensor Unembed(Tensor normed) => _weights.Logits(normed, _description);

    /// <summary>The likeliest next token of each sequence: [batch, top] logits, ids and log-probabilities. Takes the residual stream
    /// over.</summary>
    public (Tensor Logits, Tensor Ids, Tensor LogProbabilities) Predict(Tensor residual, int top)
    {
        using Tensor normed = FinalNorm(residual, lastOnly: true), logits = Unembed(normed);
        using Tensor rows = logits.Reshape(_batch, _description.Vocabulary);
        Tensor best = _device.Allocate(ElementType.F32, _batch, top), ids = _device.Allocate(ElementType.I32, _batch, top);
        Tensor logProbabilities = _device.Allocate(ElementType.F32, _batch, top);
        _device.Run(new TopK { X = rows, Values = best, Indices = ids });
        _device.Run(new LogProbability { X = rows, Targets = ids, Out = logProbabilities });
        return (best, ids, logProbabilities);
    }

    /// <summary>[batch, 1, …]: each sequence's last real token.</summary>
    private Tensor LastTokens(Tensor x)
    {
        if (_length == 1)
        {
            return x.Share();
        }

        Tensor last = _device.Allocate(x.Type, _batch, 1, x.Shape[2]);
        for (int row = 0; row < _batch; row++)
        {
            long at = (long)row * _length + _tokens.Spans[row].End - 1;
            _device.Run(new Copy
            {
                From = new Matrix(x, at * x.Shape[2], 1, x.Shape[2], x.Shape[2]),
                To = new Matrix(last, (long)row * x.Shape[2], 1, x.Shape[2], x.Shape[2]),
            });
        }

        return last;
    }

    /// <summary>Logits at padding are zero.</summary>
    private void ZeroPadding(Tensor logits)
    {
        long columns = logits.Shape[2];
        for (int row = 0; row < _batch; row++)
        {
            (int first, int end) = _tokens.Spans[row];
            foreach ((int from, int to) in (ReadOnlySpan<(int, int)>)[(0, first), (end, _length)])
            {
                if (to > from)
                {
                    long offset = ((long)row * _length + from) * columns;
                    _device.Run(new Fill { Out = new Matrix(logits, offset, to - from, (int)columns, columns), Value = 0 });
                }
            }
        }
    }
}
