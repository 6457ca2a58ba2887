using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Processing;

/// <summary>Parameters as a checkpoint holds them.</summary>
internal interface IStoredParameters
{
    /// <summary>A vector, null where the model has none.</summary>
    float[]? Vector(Parameter parameter, int layer);

    /// <summary>Columns [start, start + count) of a matrix, one after the other: each output's weights for all inputs.</summary>
    double[] Columns(Parameter parameter, int layer, int start, int count);

    /// <summary>Takes back what <see cref="Columns"/> gave, to use it again: garbage would count towards the peak of memory.</summary>
    void Recycle(double[] columns);
}

/// <summary>
/// Gives the parameters of a model as <see cref="WeightProcessing"/> makes them, in double precision and a few columns at a time, so that
/// a model is never held twice.
/// </summary>
internal sealed class WeightProcessor
{
    private readonly ModelDescription _model;
    private readonly WeightProcessing _steps;
    private readonly IStoredParameters _stored;
    private ((Parameter Parameter, int Layer) Of, double[] Values)? _mean;
    private (int Layer, FactoredHeads Heads)? _factored;

    public WeightProcessor(ModelDescription model, WeightProcessing steps, IStoredParameters stored)
    {
        WeightProcessingSteps.Check(model, steps);
        (_model, _steps, _stored) = (model, steps, stored);
    }

    /// <summary>
    /// Whether a matrix is another than the checkpoint's. A tied unembedding is, too, if the embedding no longer is what it was tied to.
    /// </summary>
    public bool Changes(Parameter parameter) =>
        (Does(WeightProcessing.FoldLayerNorm) && NormBefore(parameter) is not null) || IsCentered(parameter) || IsFactored(parameter)
        || (parameter == UnembedWeight && _model.TiedEmbedding && IsCentered(TokenEmbedding));

    /// <summary>Whether <see cref="Vector"/> may give another vector than the checkpoint's. The experts of a mixture are never touched.</summary>
    public static bool MayChangeVector(Parameter parameter) =>
        MatrixOf(parameter) is not null || parameter is Ln1Gain or Ln1Bias or Ln2Gain or Ln2Bias or LnFinalGain or LnFinalBias;

    /// <summary>Columns [start, start + count) of a processed matrix.</summary>
    public double[] Columns(Parameter parameter, int layer, int start, int count)
    {
        if (!IsFactored(parameter))
        {
            return BeforeFactoring(parameter, layer, start, count);
        }

        int inputs = CheckpointSchema.Size(_model, parameter).Inputs;
        var values = new double[(long)inputs * count];
        for (int i = 0; i < count; i++)
        {
            Factored(layer).Column(parameter, start + i, values.AsSpan(i * inputs, inputs));
        }

        return values;
    }

    /// <summary>A processed vector, null where it is gone (a gain of one, a bias of zero) or never was.</summary>
    public float[]? Vector(Parameter parameter, int layer) => parameter switch
    {
        QBias or KBias when IsFactored(QWeight) => ToSingles(Factored(layer).Bias(parameter)),
        VBias when Does(WeightProcessing.FoldValueBiases) || IsFactored(VWeight) => null,
        Ln1Gain or Ln1Bias or Ln2Gain or Ln2Bias or LnFinalGain or LnFinalBias when Does(WeightProcessing.FoldLayerNorm) => null,
        _ => ToSingles(BeforeFactoring(parameter, layer)),
    };

    /// <summary>The gain and bias of the norm whose output a matrix reads.</summary>
    private (Parameter Gain, Parameter Bias)? NormBefore(Parameter parameter) => parameter switch
    {
        QWeight or KWeight or VWeight => (Ln1Gain, Ln1Bias),
        MlpInWeight or MlpUpWeight => _model.SharedNorm ? (Ln1Gain, Ln1Bias) : (Ln2Gain, Ln2Bias),
        UnembedWeight when _model.FinalNorm => (LnFinalGain, LnFinalBias),
        _ => null,
    };

    private static Parameter? MatrixOf(Parameter bias) => bias switch
    {
        QBias => QWeight,
        KBias => KWeight,
        VBias => VWeight,
        OBias => OWeight,
        MlpInBias => MlpInWeight,
        MlpUpBias => MlpUpWeight,
        MlpOutBias => MlpOutWeight,
        UnembedBias => UnembedWeight,
        _ => null,
    };

    private bool Does(WeightProcessing step) => _steps.HasFlag(step);

    /// <summary>Whether the mean over a matrix's outputs is taken off.</summary>
    private bool IsCentered(Parameter parameter) => parameter switch
    {
        PositionEmbedding or TokenEmbedding or OWeight or MlpOutWeight => Does(WeightProcessing.CenterWritingWeights),
        UnembedWeight => Does(WeightProcessing.CenterUnembed),
        _ => false,
    };

    private bool IsFactored(Parameter parameter) =>
        parameter is QWeight or KWeight or VWeight or OWeight && Does(WeightProcessing.RefactorFactoredAttention);

    private double[] BeforeFactoring(Parameter parameter, int layer, int start, int count)
    {
        double[] values = Folded(parameter, layer, start, count);
        if (!IsCentered(parameter))
        {
            return values;
        }

        // An embedding is looked up: its columns are what is written.
        bool isEmbedding = parameter is TokenEmbedding or PositionEmbedding;
        if (isEmbedding)
        {
            Center(values, values.Length / count);
            return values;
        }

        double[] mean = MeanColumn(parameter, layer);
        for (int i = 0; i < values.Length; i++)
        {
            values[i] -= mean[i % mean.Length];
        }

        return values;
    }

    /// <summary>Columns with the norm before them folded in.</summary>
    private double[] Folded(Parameter parameter, int layer, int start, int count)
    {
        double[] values = _stored.Columns(parameter, layer, start, count);
        if (!Does(WeightProcessing.FoldLayerNorm) || NormBefore(parameter) is not var (gain, _))
        {
            return values;
        }

        int inputs = values.Length / count;
        if (_stored.Vector(gain, layer) is { } gains)
        {
            for (int i = 0; i < values.Length; i++)
            {
                values[i] *= gains[i % inputs];
            }
        }

        if (_model.Norm == NormKind.Layer)
        {
            Center(values, inputs);
        }

        return values;
    }

    private double[]? BeforeFactoring(Parameter bias, int layer)
    {
        double[]? values = Folded(bias, layer);
        if (bias == OBias && (Does(WeightProcessing.FoldValueBiases) || IsFactored(OWeight)) && BeforeFactoring(VBias, layer) is { } ofValues)
        {
            values ??= new double[_model.Width];
            int size = ofValues.Length / _model.KeyValueHeads, shared = _model.Heads / _model.KeyValueHeads;
            double[] ofHeads = [.. Enumerable.Range(0, _model.Heads * size).Select(i => ofValues[i / size / shared * size + i % size])];
            AddProducts(values, OWeight, layer, ofHeads, BeforeFactoring);
        }

        bool centered = bias == UnembedBias ? Does(WeightProcessing.CenterUnembed)
            : bias is OBias or MlpOutBias && Does(WeightProcessing.CenterWritingWeights);
        if (values is not null && centered)
        {
            Center(values, values.Length);
        }

        return values;
    }

    /// <summary>A bias, with what the bias of the norm before its matrix adds to it.</summary>
    private double[]? Folded(Parameter bias, int layer)
    {
        double[]? values = _stored.Vector(bias, layer) is { } stored ? [.. stored.Select(value => (double)value)] : null;
        if (Does(WeightProcessing.FoldLayerNorm) && MatrixOf(bias) is { } matrix && NormBefore(matrix) is var (_, normBias)
            && _stored.Vector(normBias, layer) is { } added)
        {
            values ??= new double[CheckpointSchema.Size(_model, bias).Outputs];
            AddProducts(values, matrix, layer, [.. added.Select(value => (double)value)], _stored.Columns);
        }

        return values;
    }

    /// <summary>sums += vector · matrix.</summary>
    private void AddProducts(
        double[] sums, Parameter matrix, int layer, double[] vector, Func<Parameter, int, int, int, double[]> columnsOf)
    {
        ForColumns(matrix, layer, columnsOf, (column, values) =>
        {
            double sum = 0;
            for (int i = 0; i < vector.Length; i++)
            {
                sum += vector[i] * values[i];
            }

            sums[column] += sum;
        });
    }

    /// <summary>The mean of a matrix's columns: what each input writes to all outputs alike.</summary>
    private double[] MeanColumn(Parameter parameter, int layer)
    {
        if (_mean is var (of, kept) && of == (parameter, layer))
        {
            return kept;
        }

        (int inputs, int outputs) = CheckpointSchema.Size(_model, parameter);
        var mean = new double[inputs];
        ForColumns(parameter, layer, Folded, (_, column) =>
        {
            for (int i = 0; i < mean.Length; i++)
            {
                mean[i] += column[i] / outputs;
            }
        });
        _mean = ((parameter, layer), mean);
        return mean;
    }

    private void ForColumns(
        Parameter matrix, int layer, Func<Parameter, int, int, int, double[]> columnsOf, Action<int, ReadOnlySpan<double>> visit)
    {
        (int inputs, int outputs) = CheckpointSchema.Size(_model, matrix);
        int chunk = ChunkOf(inputs);
        for (int start = 0; start < outputs; start += chunk)
        {
            int count = Math.Min(chunk, outputs - start);
            double[] values = columnsOf(matrix, layer, start, count);
            for (int i = 0; i < count; i++)
            {
                visit(start + i, values.AsSpan(i * inputs, inputs));
            }

            _stored.Recycle(values);
        }
    }

    /// <summary>How many columns to hold at a time: a megabyte.</summary>
    public static int ChunkOf(int inputs) => Math.Max(1, (1 << 20) / sizeof(double) / Math.Max(1, inputs));

    private FactoredHeads Factored(int layer)
    {
        if (_factored?.Layer != layer)
        {
            _factored = (layer, new FactoredHeads(
                _model, parameter => BeforeFactoring(parameter, layer, 0, CheckpointSchema.Size(_model, parameter).Outputs),
                bias => BeforeFactoring(bias, layer)));
        }

        return _factored.Value.Heads;
    }

    /// <summary>Takes the mean off each run of a length.</summary>
    private static void Center(double[] values, int length)
    {
        for (int start = 0; start < values.Length; start += length)
        {
            Span<double> run = values.AsSpan(start, length);
            double sum = 0;
            foreach (double value in run)
            {
                sum += value;
            }

            foreach (ref double value in run)
            {
                value -= sum / length;
            }
        }
    }

    private static float[]? ToSingles(double[]? values) => values is null ? null : [.. values.Select(value => (float)value)];
}
