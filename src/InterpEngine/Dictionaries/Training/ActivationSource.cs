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
    public ModelActivations(
        Model model, string point, IEnumerable<int[]> texts, int seed, int buffer = 1 << 15, int batch = 32, IEnumerable<int>? excluded = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(buffer);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        (_model, _point, _texts, _capacity, _batch, _random) = (model, point, texts.GetEnumerator(), buffer, batch, new Random(seed));
        _excluded = [.. excluded ?? []];
        Fill();
        Width = _buffer[0].Length;
    }

    /// <inheritdoc/>
    public int Width { get; }

    /// <summary>Rows drawn so far.</summary>
    public long Drawn { get; private set; }

    /// <inheritdoc/>
    public Tensor Next(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        var rows = new float[count * Width];
        for (int i = 0; i < count; i++)
        {
            Draw().CopyTo(rows, i * Width);
        }

        return _model.Device.Upload<float>(rows, count, Width);
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
        int? stop = last && point.Layer + 1 < _model.Description.Layers ? point.Layer + 1 : null;
        using RunResult run = _model.Run(tokens, new RunOptions { Capture = _point, StopAtLayer = stop, Logits = LogitsWanted.None });
        Tensor captured = run.Cache[_point];
        float[] values = captured.ToArray<float>();
        int width = values.Length / (tokens.Batch * tokens.Length);
        for (int text = 0; text < tokens.Batch; text++)
        {
            (int first, int end) = tokens.Spans[text];
            for (int position = first; position < end; position++)
            {
                int row = text * tokens.Length + position;
                if (!_excluded.Contains(tokens.Ids[row]))
                {
                    _buffer.Add(values.AsSpan(row * width, width).ToArray());
                }
            }
        }
    }
}
