using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// Rows of a stream in random order, from a buffer of bounded size that is filled again before each draw, while the stream's next blocks are
/// computed on a thread of their own. What is drawn depends on seed, stream and counts alone: not on who was faster.
/// </summary>
public sealed class ShuffledActivations : IActivationSource
{
    private readonly Device _device;
    private readonly IRowStream _stream;
    private readonly ShuffleBuffer _buffer;
    private readonly int _capacity;
    private readonly bool _overlaps;
    private BlocksAhead? _ahead;
    private long _blocks;
    private bool _ended;

    /// <summary>Begins to draw. Nothing is computed before the first draw.</summary>
    /// <param name="stream">Where rows come from. It is disposed with this.</param>
    /// <param name="device">Where they are to be.</param>
    /// <param name="seed">Of their order.</param>
    /// <param name="buffer">Rows that are mixed; a block more may be held.</param>
    /// <param name="overlaps">Whether blocks are computed ahead. The rows are the same.</param>
    public ShuffledActivations(IRowStream stream, Device device, int seed, int buffer = 1 << 16, bool overlaps = true)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(buffer);
        (_stream, _device, _capacity, _overlaps) = (stream, device, buffer, overlaps);
        _buffer = new ShuffleBuffer(stream.Width + stream.TargetWidth, seed);
    }

    /// <inheritdoc/>
    public int Width => _stream.Width;

    /// <inheritdoc/>
    public int TargetWidth => _stream.TargetWidth;

    /// <summary>Rows drawn so far.</summary>
    public long Drawn { get; private set; }

    /// <inheritdoc/>
    public (Tensor Rows, Tensor? Targets) NextPair(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        Fill(Math.Max(_capacity, count));
        if (_buffer.Count < count)
        {
            throw new DictionaryException(
                $"The activations ended before training did: {_buffer.Count} rows are left of {Drawn + _buffer.Count}.",
                "Give more text, or texts that begin again.");
        }

        float[] rows = new float[count * Width], targets = new float[count * TargetWidth], row = new float[Width + TargetWidth];
        for (int i = 0; i < count; i++)
        {
            _buffer.Draw(row);
            row.AsSpan(0, Width).CopyTo(rows.AsSpan(i * Width));
            row.AsSpan(Width).CopyTo(targets.AsSpan(i * TargetWidth));
        }

        Drawn += count;
        Tensor drawn = _device.Upload<float>(rows, count, Width);
        return (drawn, TargetWidth == 0 ? null : _device.Upload<float>(targets, count, TargetWidth));
    }

    /// <inheritdoc/>
    public void Save(CheckpointWriter state)
    {
        ArgumentNullException.ThrowIfNull(state);
        _buffer.Save(state);
        state.AddIntegers("position", _blocks, Drawn);
    }

    /// <inheritdoc/>
    public void Load(CheckpointReader state)
    {
        ArgumentNullException.ThrowIfNull(state);
        long[] position = state.Integers("position", 2);
        _buffer.Load(state);
        _ahead?.Dispose();
        (_ahead, _ended, _blocks, Drawn) = (null, false, position[0], position[1]);
        _stream.Seek(_blocks);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ahead?.Dispose();
        _stream.Dispose();
    }

    private void Fill(int rows)
    {
        while (_buffer.Count < rows && !_ended)
        {
            RowBlock? block = _overlaps ? (_ahead ??= new BlocksAhead(_stream)).Next() : _stream.Next(CancellationToken.None);
            _ended = block is null;
            if (block is not null)
            {
                _buffer.Add(block);
                _blocks++;
            }
        }
    }
}
