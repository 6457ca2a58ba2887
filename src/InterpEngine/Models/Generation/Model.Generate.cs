using InterpEngine.Models;

namespace InterpEngine;

public sealed partial class Model
{
    /// <summary>Continues texts token by token, with a key/value cache. Each step is computed when the next element is asked for.</summary>
    /// <param name="prompt">The texts; padding may stand before them.</param>
    /// <param name="options">How to choose; null for up to 64 greedy tokens.</param>
    /// <param name="cancellation">Ends the generation between two layers.</param>
    /// <returns>
    /// For each step one entry a sequence, null once that sequence has ended: at an end-of-text token, or where it fills the model's
    /// learned positions.
    /// </returns>
    /// <exception cref="ModelException">The prompt or the options cannot be run.</exception>
    public IEnumerable<GeneratedToken?[]> Generate(
        TokenBatch prompt, GenerationOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= new GenerationOptions();
        options.Check();
        if (!Description.Causal)
        {
            throw new ModelException(
                $"This model ({Description.Family}) is an encoder: it predicts what stands behind a mask, not what comes next.",
                "Run it on a text with masked tokens and read their logits.");
        }

        return Steps(prompt, options, cancellation);
    }

    private IEnumerable<GeneratedToken?[]> Steps(TokenBatch prompt, GenerationOptions options, CancellationToken cancellation)
    {
        if (options.MaxTokens == 0)
        {
            yield break;
        }

        var candidates = new PredictionOptions { Top = Sampler.Candidates(options, Description.Vocabulary), LastOnly = true };
        Sampler[] samplers = [.. Enumerable.Range(0, prompt.Batch).Select(row => new Sampler(options, row))];
        int[] active = [.. Enumerable.Range(0, prompt.Batch)];
        int[] lengths = [.. prompt.Spans.Select(span => span.End - span.First)];
        long limit = Description.Positions is LearnedPositions ? Math.Max(prompt.Length, Description.Context) : int.MaxValue;
        KeyValueCache cache = CreateCache(prompt.Batch, (int)Math.Min((long)prompt.Length + options.MaxTokens - 1, limit));
        DecodeStep? recorded = null;
        try
        {
            TokenBatch next = prompt;
            for (int step = 0; step < options.MaxTokens; step++)
            {
                if (step > 0 && recorded is null && Device.LikesRecordings && _weights.MayBeRecorded)
                {
                    recorded = new DecodeStep(
                        Device, Description, _weights, _rotary, _localRotary, Points, cache, next, candidates.Top);
                }

                cancellation.ThrowIfCancellationRequested();
                Predictions predictions = recorded?.Run(next) ?? Predict(next, cache, candidates, cancellation);
                var tokens = new GeneratedToken?[prompt.Batch];
                for (int i = 0; i < active.Length; i++)
                {
                    tokens[active[i]] = samplers[active[i]].Draw(predictions, i);
                }

                yield return tokens;

                // Sequences that have ended leave the batch; the others do not notice.
                int[] going = [.. Enumerable.Range(0, active.Length).Where(i => GoesOn(tokens[active[i]]!.Id, ++lengths[active[i]], options))];
                if (going.Length == 0)
                {
                    yield break;
                }

                if (going.Length < active.Length)
                {
                    recorded?.Dispose();
                    recorded = null;
                    KeyValueCache all = cache;
                    cache = all.Select(going);
                    all.Dispose();
                    active = [.. going.Select(i => active[i])];
                }

                next = TokenBatch.Rectangle([.. active.Select(row => tokens[row]!.Id)], active.Length, 1);
            }
        }
        finally
        {
            recorded?.Dispose();
            cache.Dispose();
        }
    }

    private Predictions Predict(TokenBatch tokens, KeyValueCache cache, PredictionOptions candidates, CancellationToken cancellation)
    {
        var options = new RunOptions { Logits = LogitsWanted.None, Predictions = candidates, Cache = cache };
        using RunResult result = Run(tokens, options, cancellation);
        return result.Predictions!;
    }

    private bool GoesOn(int id, int length, GenerationOptions options) =>
        !(options.StopAtEnd && Description.EndTokens.Contains(id))
        && (Description.Positions is not LearnedPositions || length <= Description.Context);
}
