using InterpEngine.Hooks;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Rows straight from a running model: texts are run a batch at a time, as far as the last point that is wanted.</summary>
public sealed class ModelActivations : IRowStream
{
    private readonly Model _model;
    private readonly HookPoint[] _points, _targets;
    private readonly IEnumerable<int[]> _texts;
    private readonly HashSet<int> _excluded;
    private readonly int _batch;
    private readonly RunOptions _options;
    private IEnumerator<int[]>? _next;

    /// <summary>Prepares to harvest.</summary>
    /// <param name="model">The model; it stays the caller's.</param>
    /// <param name="point">The hook point; a crosscoder's several, with commas between.</param>
    /// <param name="texts">Token sequences; enumerated anew when a run is taken up again, and then the same.</param>
    /// <param name="batch">Texts of a run.</param>
    /// <param name="excluded">Tokens whose rows are left out: special ones.</param>
    /// <param name="target">The hook point of what a transcoder is to make of each row, or null.</param>
    /// <exception cref="HookException">The model has no such point.</exception>
    public ModelActivations(
        Model model, string point, IEnumerable<int[]> texts, int batch = 32, IEnumerable<int>? excluded = null, string? target = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(point);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        (_model, _texts, _batch, _excluded) = (model, texts, batch, [.. excluded ?? []]);
        _points = [.. point.Split(',').Select(name => model.Points.Require(name.Trim()))];
        _targets = target is null ? [] : [model.Points.Require(target)];
        (Width, TargetWidth) = (_points.Sum(WidthOf), _targets.Sum(WidthOf));
        HookPoint last = _points.Concat(_targets).Max();
        _options = new RunOptions
        {
            Capture = HookSelection.FromPoints([.. _points, .. _targets]),
            Logits = LogitsWanted.None,
            StopAtLayer = last.Kind.Info().InBlock && last.Layer + 1 < model.Description.Layers ? last.Layer + 1 : null,
        };
    }

    /// <inheritdoc/>
    public int Width { get; }

    /// <inheritdoc/>
    public int TargetWidth { get; }

    /// <inheritdoc/>
    public RowBlock? Next(CancellationToken cancellation)
    {
        _next ??= _texts.GetEnumerator();
        var texts = new List<int[]>();
        while (texts.Count < _batch && _next.MoveNext())
        {
            texts.Add(_next.Current);
        }

        if (texts.Count == 0)
        {
            return null;
        }

        TokenBatch tokens = TokenBatch.LeftPadded(texts);
        using RunResult run = _model.Run(tokens, _options, cancellation);
        int[] rows = [.. Kept(tokens)];
        int width = Width + TargetWidth, at = 0;
        var values = new float[rows.Length * width];
        foreach (HookPoint point in _points.Concat(_targets))
        {
            float[] captured = run.Cache[point].ToArray<float>();
            int part = WidthOf(point);
            for (int i = 0; i < rows.Length; i++)
            {
                captured.AsSpan(rows[i] * part, part).CopyTo(values.AsSpan(i * width + at));
            }

            at += part;
        }

        return new RowBlock(rows.Length, values);
    }

    /// <inheritdoc/>
    public void Seek(long blocks)
    {
        _next?.Dispose();
        _next = _texts.GetEnumerator();
        for (long skipped = 0; skipped < blocks * _batch && _next.MoveNext(); skipped++)
        {
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _next?.Dispose();

    private int WidthOf(HookPoint point) => checked((int)_model.Points.ShapeOf(point, 1, 1, 1).Count);

    private IEnumerable<int> Kept(TokenBatch tokens)
    {
        for (int text = 0; text < tokens.Batch; text++)
        {
            (int first, int end) = tokens.Spans[text];
            for (int row = text * tokens.Length + first; row < text * tokens.Length + end; row++)
            {
                if (!_excluded.Contains(tokens.Ids[row]))
                {
                    yield return row;
                }
            }
        }
    }
}
