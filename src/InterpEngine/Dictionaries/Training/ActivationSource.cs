using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Rows to train on, in an order that a seed decides and that can be taken up again.</summary>
public interface IActivationSource
{
    /// <summary>Width of a row.</summary>
    int Width { get; }

    /// <summary>The next rows.</summary>
    /// <param name="count">How many.</param>
    /// <returns>[count, width], the caller's.</returns>
    Tensor Next(int count);
}

/// <summary>
/// Rows straight from a running model: texts are run a batch at a time, the values at one hook point go into a buffer of bounded size, and
/// rows are drawn from it at random. What is drawn depends on seed and texts alone, so that a run that is interrupted is taken up again by
/// drawing as often as before (<see cref="Skip"/>).
/// </summary>
public sealed class ModelActivations : IActivationSource, IDisposable
{
    private readonly Model _model;
    private readonly string _point;
    private readonly string? _target;
    private readonly IEnumerator<int[]> _texts;
    private readonly HashSet<int> _excluded;
    private readonly int _batch;
    private readonly int _capacity;
    private readonly Random _random;
    private readonly List<float[]> _buffer = [];

    /// <summary>Prepares to harvest.</summary>
    /// <param name="model">The model; it stays the caller's.</param>
    /// <param name="point">The hook point.</param>
    /// <param name="texts">Token sequences, without end; called anew for every source.</param>
    /// <param name="seed">Of the order of rows.</param>
    /// <param name="buffer">Rows in the buffer at most.</param>
    /// <param name="batch">Texts of a run.</param>
    /// <param name="excluded">Tokens whose rows are left out: special ones.</param>
    /// <param name="target">The hook point of what a transcoder is to make of each row, or null.</param>
    public ModelActivations(
        Model model, string point, IEnumerable<int[]> texts, int seed, int buffer = 1 << 15, int batch = 32,
            IEnumerable<int>? excluded = null,
        string? target = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(buffer);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        (_model, _point, _texts, _capacity, _batch, _random) = (model, point, texts.GetEnumerator(), buffer, batch, new Random(seed));
        (_excluded, _target) = ([.. excluded ?? []], target);
        Fill();
        Width = _buffer[0].Length - TargetWidth;
    }

    /// <inheritdoc/>
    public int Width { get; }

    /// <summary>Width of a target; 0 without one.</summary>
    public int TargetWidth { get; private set; }

    /// <summary>Rows drawn so far.</summary>
    public long Drawn { get; private set; }

    /// <inheritdoc/>
    public Tensor Next(int count)
    {
        (Tensor rows, Tensor? targets) = NextPair(count);
        targets?.Dispose();
        return rows;
    }

    /// <summary>The next rows with their targets.</summary>
    /// <returns>[count, width] and [count, target width] or null, the caller's.</returns>
    public (Tensor Rows, Tensor? Targets) NextPair(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        float[] rows = new float[count * Width], targets = new float[count * TargetWidth];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<float> drawn = Draw();
            drawn[..Width].CopyTo(rows.AsSpan(i * Width));
            drawn[Width..].CopyTo(targets.AsSpan(i * TargetWidth));
        }

        return (_model.Device.Upload<float>(rows, count, Width), TargetWidth == 0 ? null
            : _model.Device.Upload<float>(targets, count, TargetWidth));
    }

    /// <summary>Draws rows and forgets them, so that the next are those of a run that had got that far.</summary>
    public void Skip(long count)
    {
        for (long i = 0; i < count; i++)
        {
            _ = Draw();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _texts.Dispose();

    private float[] Draw()
    {
        // Half full is full enough to mix; then it is filled again.
        if (_buffer.Count <= _capacity / 2)
        {
            Fill();
        }

        int at = _random.Next(_buffer.Count);
        float[] row = _buffer[at];
        _buffer[at] = _buffer[^1];
        _buffer.RemoveAt(_buffer.Count - 1);
        Drawn++;
        return row;
    }

    private void Fill()
    {
        while (_buffer.Count < _capacity)
        {
            var texts = new List<int[]>();
            while (texts.Count < _batch && _texts.MoveNext())
            {
                texts.Add(_texts.Current);
            }

            if (texts.Count == 0)
            {
                if (_buffer.Count > 0)
                {
                    return;
                }

                throw new DictionaryException("The texts ended before training did.", "Give more text, or texts that begin again.");
            }

            Harvest(TokenBatch.LeftPadded([.. texts]));
        }
    }

    private void Harvest(TokenBatch tokens)
    {
        bool last = HookPoint.TryParse(_point, out HookPoint point) && point.Kind.Info().InBlock;
        if (_target is not null)
        {
            last &= HookPoint.TryParse(_target, out HookPoint target) && target.Kind.Info().InBlock;
            point = target > point ? target : point;
        }

        int? stop = last && point.Layer + 1 < _model.Description.Layers ? point.Layer + 1 : null;
        HookSelection points = _target is null ? _point : HookSelection.Create(_point, _target);
        using RunResult run = _model.Run(tokens, new RunOptions { Capture = points, StopAtLayer = stop, Logits = LogitsWanted.None });
        int all = tokens.Batch * tokens.Length;
        float[] values = run.Cache[_point].ToArray<float>(), targets = _target is null ? [] : run.Cache[_target].ToArray<float>();
        int width = values.Length / all;
        TargetWidth = targets.Length / all;
        for (int text = 0; text < tokens.Batch; text++)
        {
            (int first, int end) = tokens.Spans[text];
            for (int position = first; position < end; position++)
            {
                int row = text * tokens.Length + position;
                if (!_excluded.Contains(tokens.Ids[row]))
                {
                    _buffer.Add([.. values.AsSpan(row * width, width), .. targets.AsSpan(row * TargetWidth, TargetWidth)]);
                }
            }
        }
    }
}
