using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// Reads the likeliest tokens and log-probabilities off logits that are made some rows at a time: nobody needs [rows, vocabulary] at
/// once. The values are those of the whole logits, to the bit.
/// </summary>
internal sealed class LogitReader
{
    /// <summary>64 MiB of logits.</summary>
    private const int LogitsAtOnce = 1 << 24;

    private readonly Device _device;
    private readonly int _top;
    private readonly int[] _tokens;
    private readonly int[]? _next;

    private LogitReader(Device device, int rows, int top, int[] tokens, int[]? next)
    {
        (_device, _top, _tokens, _next) = (device, top, tokens, next);
        (Top, TopLogits, TopLogProbabilities) = (new int[rows, top], new float[rows, top], new float[rows, top]);
        (Logits, LogProbabilities) = (new float[rows, tokens.Length], new float[rows, tokens.Length]);
        NextLogProbabilities = new float[next?.Length ?? 0];
    }

    /// <summary>What was read elsewhere: the likeliest tokens of each row, [rows · top] each.</summary>
    public static LogitReader Of(Device device, int rows, int top, int[] tokens, float[] logits, float[] logProbabilities)
    {
        var reader = new LogitReader(device, rows, top, [], null);
        for (int i = 0; i < tokens.Length; i++)
        {
            (int row, int rank) = Math.DivRem(i, top);
            reader.Top[row, rank] = tokens[i];
            reader.TopLogits[row, rank] = logits[i];
            reader.TopLogProbabilities[row, rank] = logProbabilities[i];
        }

        return reader;
    }

    /// <summary>[rows, top]: the likeliest tokens, likeliest first; of equal logits the lower id first.</summary>
    public int[,] Top { get; }

    /// <summary>[rows, top].</summary>
    public float[,] TopLogits { get; }

    /// <summary>[rows, top].</summary>
    public float[,] TopLogProbabilities { get; }

    /// <summary>[rows, tokens].</summary>
    public float[,] Logits { get; }

    /// <summary>[rows, tokens].</summary>
    public float[,] LogProbabilities { get; }

    /// <summary>[rows], 0 where there is no next token; empty where none were given.</summary>
    public float[] NextLogProbabilities { get; }

    /// <summary>Reads.</summary>
    /// <param name="device">Where the logits are.</param>
    /// <param name="rows">How many there are.</param>
    /// <param name="vocabulary">Their columns.</param>
    /// <param name="logits">Gives the [count, vocabulary] logits from a row on, to be disposed.</param>
    /// <param name="top">How many of the likeliest tokens to read, at most the vocabulary.</param>
    /// <param name="tokens">Tokens of the vocabulary to read at every row.</param>
    /// <param name="next">A token to read at each row, negative for none; null for none at all.</param>
    public static LogitReader Read(
        Device device, int rows, int vocabulary, Func<int, int, Tensor> logits, int top, int[] tokens, int[]? next = null)
    {
        var reader = new LogitReader(device, rows, top, tokens, next);
        int step = Math.Clamp(LogitsAtOnce / vocabulary, 1, Math.Max(1, rows));
        for (int start = 0; start < rows; start += step)
        {
            using Tensor part = logits(start, Math.Min(step, rows - start));
            reader.Read(part, start);
        }

        return reader;
    }

    private void Read(Tensor logits, int start)
    {
        int rows = logits.Shape[0], vocabulary = logits.Shape[1];
        int[] best = ReadTop(logits, start);
        for (int i = 0; i < _tokens.Length; i++)
        {
            using Tensor column = _device.Allocate(ElementType.F32, rows, 1);
            _device.Run(new Copy { From = new Matrix(logits, _tokens[i], rows, 1, vocabulary), To = column });
            float[] values = column.ToArray<float>();
            for (int row = 0; row < rows; row++)
            {
                Logits[start + row, i] = values[row];
            }
        }

        // One normalisation of a row serves all of its tokens.
        int count = _top + _tokens.Length + (_next is null ? 0 : 1);
        if (count == 0)
        {
            return;
        }

        var targets = new int[rows * count];
        for (int row = 0; row < rows; row++)
        {
            Span<int> wanted = targets.AsSpan(row * count, count);
            best.AsSpan(row * _top, _top).CopyTo(wanted);
            _tokens.CopyTo(wanted[_top..]);
            if (_next is not null)
            {
                wanted[^1] = _next[start + row];
            }
        }

        using Tensor ids = _device.Upload<int>(targets, rows, count), results = _device.Allocate(ElementType.F32, rows, count);
        _device.Run(new LogProbability { X = logits, Targets = ids, Out = results });
        float[] log = results.ToArray<float>();
        for (int row = 0; row < rows; row++)
        {
            ReadOnlySpan<float> values = log.AsSpan(row * count, count);
            for (int i = 0; i < _top; i++)
            {
                TopLogProbabilities[start + row, i] = values[i];
            }

            for (int i = 0; i < _tokens.Length; i++)
            {
                LogProbabilities[start + row, i] = values[_top + i];
            }

            if (_next is not null)
            {
                NextLogProbabilities[start + row] = values[^1];
            }
        }
    }

    /// <returns>[rows · top]: the likeliest tokens of these rows.</returns>
    private int[] ReadTop(Tensor logits, int start)
    {
        if (_top == 0)
        {
            return [];
        }

        int rows = logits.Shape[0];
        using Tensor values = _device.Allocate(ElementType.F32, rows, _top), indices = _device.Allocate(ElementType.I32, rows, _top);
        _device.Run(new TopK { X = logits, Values = values, Indices = indices });
        float[] logit = values.ToArray<float>();
        int[] tokens = indices.ToArray<int>();
        for (int i = 0; i < tokens.Length; i++)
        {
            (int row, int rank) = Math.DivRem(i, _top);
            (Top[start + row, rank], TopLogits[start + row, rank]) = (tokens[i], logit[i]);
        }

        return tokens;
    }
}
