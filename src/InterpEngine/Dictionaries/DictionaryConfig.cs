using System.Collections.Immutable;

namespace InterpEngine.Dictionaries;

/// <summary>What a dictionary is: everything but its weights.</summary>
public sealed record DictionaryConfig
{
    /// <summary>Width of an input row; of all layers together for a crosscoder.</summary>
    public required int InputWidth { get; init; }

    /// <summary>Width of an output row.</summary>
    public required int OutputWidth { get; init; }

    /// <summary>How many features.</summary>
    public required int Features { get; init; }

    /// <summary>How pre-activations become activations.</summary>
    public required ActivationRule Rule { get; init; }

    /// <summary>What is done to the input.</summary>
    public InputNormalization Normalization { get; init; }

    /// <summary>Whether the decoder's bias is subtracted from the (normalised) input.</summary>
    public bool CentersInput { get; init; }

    /// <summary>Whether the output is something else than the input: a transcoder's, whose output is not brought back to the input's
    /// normalisation.</summary>
    public bool IsTranscoder { get; init; }

    /// <summary>Whether an activation is h times the norm of its feature's decoder row.</summary>
    public bool ScalesByDecoderNorm { get; init; }

    /// <summary>Whether the rule compares h times the parameters' score scale, activations staying what h is.</summary>
    public bool ScalesScores { get; init; }

    /// <summary>Layers that the input consists of; 1 but for a crosscoder.</summary>
    public int Layers { get; init; } = 1;

    /// <summary>The widths of a matryoshka dictionary's nested levels, or empty.</summary>
    public ImmutableArray<int> Levels { get; init; } = [];

    /// <summary>The hook point that it reads, if the file says so.</summary>
    public string? HookName { get; init; }

    /// <summary>The hook point that it writes, where that is another.</summary>
    public string? HookNameOut { get; init; }

    /// <summary>The model that it belongs to, if the file says so.</summary>
    public string? ModelName { get; init; }
}

/// <summary>A dictionary's weights on the host, row-major, feature by feature.</summary>
public sealed class DictionaryParameters
{
    /// <summary>[features, input]: the direction that each feature reads.</summary>
    public required float[] Encoder { get; init; }

    /// <summary>[features, output]: the direction that each feature writes.</summary>
    public required float[] Decoder { get; init; }

    /// <summary>[features]; zeros where a dictionary has none.</summary>
    public required float[] EncoderBias { get; init; }

    /// <summary>[output].</summary>
    public required float[] DecoderBias { get; init; }

    /// <summary>[features]: thresholds of a JumpReLU, or null.</summary>
    public float[]? Threshold { get; init; }

    /// <summary>[features]: a gated dictionary's bias of the gate, or null.</summary>
    public float[]? GateBias { get; init; }

    /// <summary>[features]: the logarithm of what a gated dictionary multiplies the gate's product by, or null.</summary>
    public float[]? MagnitudeScale { get; init; }

    /// <summary>[features]: what rules compare is h times this, or null.</summary>
    public float[]? ScoreScale { get; init; }

    /// <summary>[output, input]: the linear way around the features, or null.</summary>
    public float[]? Skip { get; init; }

    /// <summary>[input]: subtracted from the input, or null.</summary>
    public float[]? InputMean { get; init; }

    /// <summary>[input]: what the input is multiplied by then, or null.</summary>
    public float[]? InputScale { get; init; }

    /// <summary>The norm of each row of the decoder.</summary>
    public float[] DecoderNorms() => RowNorms(Decoder, EncoderBias.Length);

    internal static float[] RowNorms(float[] matrix, int rows)
    {
        var norms = new float[rows];
        int columns = rows == 0 ? 0 : matrix.Length / rows;
        for (int row = 0; row < rows; row++)
        {
            double sum = 0;
            foreach (float value in matrix.AsSpan(row * columns, columns))
            {
                sum += (double)value * value;
            }

            norms[row] = (float)Math.Sqrt(sum);
        }

        return norms;
    }
}
