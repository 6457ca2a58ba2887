namespace InterpEngine.Models;

/// <summary>
/// What to read off the logits without keeping them: [positions, vocabulary] is never held, so that memory does not grow with
/// texts. Ask for <see cref="LogitsWanted.None"/> beside it.
/// </summary>
public sealed record PredictionOptions
{
    /// <summary>How many of the likeliest next tokens to give at each position, at most the vocabulary.</summary>
    public int Top { get; init; }

    /// <summary>Tokens to tell about at each position, however likely.</summary>
    public IReadOnlyList<int> Tokens { get; init; } = [];

    /// <summary>Whether only each sequence's last real token predicts.</summary>
    public bool LastOnly { get; init; }
}

/// <summary>
/// What was read off the logits: the same bits as from the whole of them. Positions are those of the batch, or one where only the
/// last token was asked about; at padding, tokens are −1 and values NaN.
/// </summary>
public sealed class Predictions
{
    private readonly int _positions;

    /// <param name="reader">What was read.</param>
    /// <param name="batch">Sequences.</param>
    /// <param name="positions">Rows of each.</param>
    /// <param name="isReal">Whether a position of a sequence is no padding.</param>
    internal Predictions(LogitReader reader, int batch, int positions, Func<int, int, bool> isReal)
    {
        _positions = positions;
        Top = Spread(reader.Top, batch, -1, isReal);
        TopLogits = Spread(reader.TopLogits, batch, float.NaN, isReal);
        TopLogProbabilities = Spread(reader.TopLogProbabilities, batch, float.NaN, isReal);
        Logits = Spread(reader.Logits, batch, float.NaN, isReal);
        LogProbabilities = Spread(reader.LogProbabilities, batch, float.NaN, isReal);
    }

    /// <summary>[batch, positions, top]: the likeliest next tokens, likeliest first; of equal logits the lower id first.</summary>
    public int[,,] Top { get; }

    /// <summary>[batch, positions, top]: their logits.</summary>
    public float[,,] TopLogits { get; }

    /// <summary>[batch, positions, top]: the natural logarithms of their probabilities.</summary>
    public float[,,] TopLogProbabilities { get; }

    /// <summary>[batch, positions, tokens]: logits of the <see cref="PredictionOptions.Tokens"/>.</summary>
    public float[,,] Logits { get; }

    /// <summary>[batch, positions, tokens]: the natural logarithms of their probabilities.</summary>
    public float[,,] LogProbabilities { get; }

    private T[,,] Spread<T>(T[,] rows, int batch, T padding, Func<int, int, bool> isReal)
    {
        int columns = rows.GetLength(1);
        var result = new T[batch, _positions, columns];
        for (int sequence = 0; sequence < batch; sequence++)
        {
            for (int position = 0; position < _positions; position++)
            {
                bool real = isReal(sequence, position);
                for (int i = 0; i < columns; i++)
                {
                    result[sequence, position, i] = real ? rows[sequence * _positions + position, i] : padding;
                }
            }
        }

        return result;
    }
}
