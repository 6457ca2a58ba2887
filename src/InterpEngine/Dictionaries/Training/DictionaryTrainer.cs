using System.Numerics;
using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>What one step did.</summary>
/// <param name="Loss">What was minimised: the sum of the parts.</param>
/// <param name="Reconstruction">Its reconstruction.</param>
/// <param name="Sparsity">Its sparsity, its coefficient included.</param>
/// <param name="Auxiliary">What its dead features count, a gated dictionary's second reconstruction included.</param>
/// <param name="LearningRate">The rate that was used.</param>
/// <param name="GradientNorm">The norm of all gradients before clipping; 0 where they were not clipped.</param>
/// <param name="L0">Active features of a row, on average.</param>
/// <param name="Dead">Features that counted as dead in this step.</param>
/// <param name="ExplainedVariance">1 − Σ e² / Σ (y − mean y)² of this batch.</param>
public sealed record StepReport(
    double Loss, double Reconstruction, double Sparsity, double Auxiliary, double LearningRate, double GradientNorm, double L0, int Dead,
    double ExplainedVariance);

/// <summary>
/// Trains a sparse dictionary, step by step: fused encode, sparse decode, sparse gradients by hand, optimiser. Results do not depend on the
/// number of threads.
/// </summary>
public sealed partial class DictionaryTrainer : IDisposable
{
    private readonly Device _device;
    private readonly TrainingOptions _options;
    private readonly TrainedMatrix _decoder, _decoderBias;
    private readonly TrainedMatrix? _encoder, _encoderBias, _threshold, _gateBias, _magnitudeScale, _skip;
    private readonly TrainedMatrix[] _all;
    private readonly int[] _levels;
    private readonly long[] _sinceActive, _activations;
    private readonly SeededRandom _random;
    private float[] _norms = [];

    /// <summary>Begins a run.</summary>
    /// <param name="config">What is trained; its rule is the one of training.</param>
    /// <param name="parameters">Where it starts; see <see cref="Initialization"/>.</param>
    /// <param name="options">How it is trained.</param>
    /// <param name="device">Where.</param>
    /// <exception cref="DictionaryException">Settings do not belong together.</exception>
    public DictionaryTrainer(DictionaryConfig config, DictionaryParameters parameters, TrainingOptions options, Device device)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(device);
        SparseDictionary.Check(config, parameters);
        (Config, _options, _device, InputMean, InputScale) = (config, options, device, parameters.InputMean, parameters.InputScale);
        int d = config.InputWidth, features = config.Features, output = config.OutputWidth;
        bool pursuit = config.Rule.Kind == ActivationKind.MatchingPursuit, gated = config.Rule.Kind == ActivationKind.Gated;
        TrainedMatrix? Vector(string name, float[]? values) => values is null ? null : new(name, values, 1, features, device);
        _encoder = pursuit ? null : new("encoder", parameters.Encoder, features, d, device);
        _encoderBias = pursuit ? null : Vector(gated ? "magnitude bias" : "encoder bias", parameters.EncoderBias);
        _decoder = new("decoder", parameters.Decoder, features, output, device);
        _decoderBias = new("decoder bias", parameters.DecoderBias, 1, output, device);
        _threshold = config.Rule.Kind == ActivationKind.JumpRelu ? Vector("threshold", parameters.Threshold) : null;
        _gateBias = gated ? Vector("gate bias", parameters.GateBias) : null;
        _magnitudeScale = gated ? Vector("magnitude scale", parameters.MagnitudeScale) : null;
        _skip = parameters.Skip is { } skip ? new("skip", skip, output, d, device) : null;
        _all = [.. new[] { _encoder, _encoderBias, _decoder, _decoderBias, _threshold, _gateBias, _magnitudeScale, _skip }.OfType<TrainedMatrix>()];
        _levels = config.Levels.Length > 0 ? [.. config.Levels] : [features];
        (_sinceActive, _activations, _least) = (new long[features], new long[features], new float[features]);
        _random = new SeededRandom(options.Seed);
        InferenceThreshold = options.ThresholdAverage == ThresholdAverage.FromZero ? 0 : -1;
        Annealed = options.Annealing is { } annealing ? new PowerAnnealer(annealing, options) : null;
    }

    /// <summary>What is trained.</summary>
    public DictionaryConfig Config { get; }

    /// <summary>Steps taken.</summary>
    public int StepCount { get; private set; }

    /// <summary>For each feature, the rows or steps since it was last active.</summary>
    public IReadOnlyList<long> SinceActive => _sinceActive;

    /// <summary>For each feature, how often it was active in the run's rows.</summary>
    public IReadOnlyList<long> Activations => _activations;

    /// <summary>The averaged smallest activation, a threshold for inference.</summary>
    public double InferenceThreshold { get; private set; }

    /// <summary>[input]: subtracted from rows before they are multiplied by <see cref="InputScale"/>, or null.</summary>
    internal float[]? InputMean { get; }

    /// <summary>[input], or null.</summary>
    internal float[]? InputScale { get; }

    /// <summary>The state of an annealed p, or null.</summary>
    internal PowerAnnealer? Annealed { get; }

    /// <summary>The parameters in training, by name.</summary>
    internal IReadOnlyList<TrainedMatrix> Trained => _all;

    /// <summary>Where the next steps leave what they compute, or null.</summary>
    internal StepTrace? Trace { get; set; }

    /// <summary>One step on a batch.</summary>
    /// <param name="x">[n, input].</param>
    /// <param name="target">[n, output]: what is to be reconstructed, or null for x.</param>
    /// <exception cref="DictionaryException">The rows do not fit.</exception>
    public StepReport Step(Tensor x, Tensor? target = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        using Batch batch = Begin(x, target);
        Trace?.Begin(batch, _all, _norms, CurrentK, SparsityScale);
        if (Config.Rule.Kind == ActivationKind.MatchingPursuit)
        {
            StepOfPursuit(batch);
        }
        else
        {
            StepOfRule(batch);
        }

        (double rate, double norm) = Update(batch);
        StepCount++;
        if (_options.Resampling is { } resampling && resampling.IsDue(StepCount - 1))
        {
            Resample(x, resampling, target);
        }

        return new StepReport(
            batch.Reconstruction + batch.Sparsity + batch.Auxiliary, batch.Reconstruction, batch.Sparsity, batch.Auxiliary, rate, norm,
            (double)batch.Active / batch.Rows, batch.DeadCount, 1 - batch.SquaredError / batch.TargetVariance);
    }

    /// <summary>The parameters as they stand; a schedule-free run's are its averages.</summary>
    public DictionaryParameters Export()
    {
        float[] Values(TrainedMatrix matrix) => _options.Optimizer == OptimizerKind.ScheduleFreeSign && StepCount > 0
            ? Averaged(matrix)
            : matrix.Values.ToArray();
        float[] decoder = Values(_decoder);
        return new DictionaryParameters
        {
            Encoder = _encoder is null ? decoder : Values(_encoder),
            Decoder = decoder,
            EncoderBias = _encoderBias is null ? new float[Config.Features] : Values(_encoderBias),
            DecoderBias = Values(_decoderBias),
            Threshold = _threshold is not null ? Values(_threshold)
                : _options.ThresholdAverage != ThresholdAverage.None ? [.. Enumerable.Repeat((float)InferenceThreshold, Config.Features)] : null,
            GateBias = _gateBias is null ? null : Values(_gateBias),
            MagnitudeScale = _magnitudeScale is null ? null : Values(_magnitudeScale),
            Skip = _skip is null ? null : Values(_skip),
            ScoreScale = Config.ScalesScores ? DecoderNorms() : null,
            InputMean = InputMean,
            InputScale = InputScale,
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TrainedMatrix matrix in _all)
        {
            matrix.Dispose();
        }
    }

    /// <summary>What precedes the forward pass.</summary>
    private Batch Begin(Tensor x, Tensor? target)
    {
        CheckRows(x, target);
        var batch = new Batch(this, x, target);
        if (StepCount == 0)
        {
            BeginRun(batch);
        }

        if (_options.NormalizesBefore)
        {
            NormalizeRows(_decoder);
        }

        if (_options.ClampsThreshold && _threshold is not null)
        {
            foreach (ref float t in _threshold.Values)
            {
                t = Math.Max(t, 0);
            }
        }

        foreach (TrainedMatrix matrix in _all)
        {
            matrix.IsFresh = true;
            if (matrix != _encoder && matrix != _decoder)
            {
                matrix.Gradients.Clear();
            }
        }

        _norms = NeedsNorms ? DecoderNorms() : [];
        if (_options.DeadCount != DeadCount.RowsAfter)
        {
            FindDead(batch, _options.DeadWindow + 1);
        }

        return batch;
    }

    private bool NeedsNorms => Config.ScalesByDecoderNorm || Config.ScalesScores || _options.SparsityByDecoderNorm || _options.PreActivationCoefficient > 0;

    private void CheckRows(Tensor x, Tensor? target)
    {
        if (x.Device != _device || x.Type != ElementType.F32 || x.Shape.Count % Config.InputWidth != 0 || x.Shape.Count == 0
            || (target is not null && target.Shape.Count / Config.OutputWidth != x.Shape.Count / Config.InputWidth))
        {
            throw new DictionaryException($"A dictionary of width {Config.InputWidth} on {_device.Name} cannot be trained on {x}.");
        }
    }

    private void BeginRun(Batch batch)
    {
        int width = Config.OutputWidth;
        ReadOnlySpan<float> y = HostMemory.Read<float>(batch.Target);
        if (_options.Start == Start.GeometricMedian)
        {
            GeometricMedian.Of(y, width, Config.Layers).CopyTo(_decoderBias.Values);
        }
        else if (_options.Start == Start.Mean)
        {
            ColumnMeans(y, width).CopyTo(_decoderBias.Values);
            if (Config.IsTranscoder)
            {
                float[] mean = ColumnMeans(HostMemory.Read<float>(batch.Input), Config.InputWidth);
                for (int f = 0; f < Config.Features; f++)
                {
                    ReadOnlySpan<float> row = _encoder!.Values.Slice(f * Config.InputWidth, Config.InputWidth);
                    double dot = 0;
                    for (int i = 0; i < mean.Length; i++)
                    {
                        dot += (double)row[i] * mean[i];
                    }

                    _encoderBias!.Values[f] = (float)-dot;
                }
            }
        }

        if (_options.Optimizer == OptimizerKind.ScheduleFreeSign)
        {
            foreach (TrainedMatrix matrix in _all)
            {
                matrix.Values.CopyTo(matrix.First);
            }
        }
    }

    private void FindDead(Batch batch, long window)
    {
        batch.Dead = [.. _sinceActive.Select(count => count >= window)];
        batch.DeadCount = batch.Dead.Count(dead => dead);
    }

    internal static float[] ColumnMeans(ReadOnlySpan<float> rows, int width)
    {
        double[] sums = new double[width];
        for (int at = 0; at < rows.Length; at += width)
        {
            for (int i = 0; i < width; i++)
            {
                sums[i] += rows[at + i];
            }
        }

        int n = rows.Length / width;
        return Array.ConvertAll(sums, sum => (float)(sum / n));
    }

    internal static void Scale(Span<float> values, double factor)
    {
        float f = (float)factor;
        int i = 0;
        for (; i <= values.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(values[i..]) * f).CopyTo(values[i..]);
        }

        for (; i < values.Length; i++)
        {
            values[i] *= f;
        }
    }

    /// <summary>The code norm of each feature: of its whole decoder row, or of its layers' parts.</summary>
    private float[] DecoderNorms()
    {
        int layers = Config.Layers;
        float[] squares = SquaresOfParts(), norms = new float[Config.Features];
        for (int f = 0; f < norms.Length; f++)
        {
            double whole = 0, sum = 0;
            for (int l = 0; l < layers; l++)
            {
                whole += squares[f * layers + l];
                sum += Math.Sqrt(squares[f * layers + l]);
            }

            norms[f] = (float)(_options.WholeNorm * Math.Sqrt(whole) + _options.LayerNorms * sum);
        }

        return norms;
    }

    /// <summary>[features × layers]: the squared norm of each layer's part of each decoder row.</summary>
    private float[] SquaresOfParts()
    {
        int parts = Config.Features * Config.Layers, width = Config.OutputWidth / Config.Layers;
        using Tensor squares = _device.Allocate(ElementType.F32, parts);
        var rows = new Matrix(_decoder.Value, 0, parts, width, width);
        _device.Run(new ProjectGradient { Parameter = rows, Gradient = rows, Squares = squares });
        return squares.ToArray<float>();
    }
}
