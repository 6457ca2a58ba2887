using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>One step's rows and what was found about them.</summary>
internal sealed class Batch : IDisposable
{
    private readonly Device _device;
    private readonly List<IDisposable> _owned = [];
    private readonly float[]? _outputScales;

    public Batch(DictionaryTrainer trainer, Tensor x, Tensor? target)
    {
        _device = x.Device;
        DictionaryConfig config = trainer.Config;
        int d = config.InputWidth;
        Rows = (int)(x.Shape.Count / d);
        Input = Own(x.Reshape(Rows, d));
        Target = Own((target ?? x).Reshape(Rows, config.OutputWidth));
        if (trainer.InputMean is { } mean)
        {
            Input = Own(Standardized(Input, mean, trainer.InputScale!));
            Target = target is null ? Own(Input.Share()) : Target;
        }

        TargetVariance = Variance(Target);
        if (RowNormalization.Of(config.Normalization) is { } normalization)
        {
            // What is decoded is compared in the scale of the input again, as SAELens does, unless it is something else than the input.
            bool restores = !config.IsTranscoder;
            _outputScales = restores ? new float[Rows] : null;
            (Tensor normalized, Tensor? comparable) = Normalized(normalization, restores);
            (Input, Target) = (Own(normalized), comparable is null ? Target : Own(comparable));
        }
    }

    public int Rows { get; }

    /// <summary>[n, input], normalised.</summary>
    public Tensor Input { get; }

    /// <summary>[n, output]: what is to be decoded.</summary>
    public Tensor Target { get; }

    /// <summary>Whether errors are counted in another scale than they are decoded in: <see cref="ScaleOutput"/>.</summary>
    public bool ScalesOutput => _outputScales is not null;

    /// <summary>Σ (y − mean y)².</summary>
    public double TargetVariance { get; }

    /// <summary>Which features count as dead.</summary>
    public bool[] Dead { get; set; } = [];

    public int DeadCount { get; set; }

    public double Reconstruction { get; set; }

    public double Sparsity { get; set; }

    /// <summary>The sparsity loss without its coefficient, where it has a row's sum.</summary>
    public double UnscaledSparsity { get; set; }

    public double Auxiliary { get; set; }

    public double SquaredError { get; set; }

    public long Active { get; set; }

    /// <summary>From decoded rows or errors to the scale that they are counted in, or from gradients there to gradients here.</summary>
    public void ScaleOutput(Tensor rows)
    {
        if (_outputScales is null)
        {
            return;
        }

        int width = rows.Shape.Columns;
        HostMemory.Edit<float>(rows, values =>
        {
            for (int row = 0; row < Rows; row++)
            {
                DictionaryTrainer.Scale(values.Slice(row * width, width), _outputScales[row]);
            }
        });
    }

    /// <summary>A new [n, width], freed with the batch.</summary>
    public Tensor New(int width) => Own(_device.AllocateOnce(ElementType.F32, Rows, width));

    public T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }

    public void Dispose() => _owned.ForEach(owned => owned.Dispose());

    /// <summary>Σ (v − mean v)² over all rows.</summary>
    public static double Variance(Tensor rows)
    {
        using Tensor sums = rows.Device.Allocate(ElementType.F32, rows.Shape.Columns), deviations = rows.Device.Allocate(ElementType.F32, rows.Shape.Columns);
        rows.Device.Run(new ColumnStatistics { X = rows, Sums = sums, Deviations = deviations });
        return Sum(deviations);
    }

    /// <summary>Σ v².</summary>
    public static double SquaresOf(Tensor rows)
    {
        using Tensor squares = rows.Device.Allocate(ElementType.F32, checked((int)rows.Shape.Rows));
        rows.Device.Run(new ProjectGradient { Parameter = rows, Gradient = rows, Squares = squares });
        return Sum(squares);
    }

    private static double Sum(Tensor values)
    {
        double sum = 0;
        foreach (float value in HostMemory.Read<float>(values))
        {
            sum += value;
        }

        return sum;
    }

    private Tensor Standardized(Tensor x, float[] mean, float[] scale)
    {
        float[] values = x.ToArray<float>();
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (values[i] - mean[i % mean.Length]) * scale[i % mean.Length];
        }

        return _device.Upload<float>(values, x.Shape.Axes);
    }

    /// <summary>Normalised inputs, and what is to be decoded so that undoing the normalisation gives the inputs.</summary>
    private (Tensor Input, Tensor? Target) Normalized(RowNormalization normalization, bool restores)
    {
        int d = Input.Shape.Columns;
        float[] values = Input.ToArray<float>(), targets = restores ? (float[])values.Clone() : [];
        for (int row = 0; row < Rows; row++)
        {
            Span<float> v = values.AsSpan(row * d, d);
            (float mean, float scale) = normalization.Apply(v);
            for (int i = row * d; restores && i < (row + 1) * d; i++)
            {
                targets[i] = (targets[i] - mean) / scale;
            }

            if (restores)
            {
                _outputScales![row] = scale;
            }
        }

        return (_device.Upload<float>(values, Rows, d), restores ? _device.Upload<float>(targets, Rows, d) : null);
    }
}
