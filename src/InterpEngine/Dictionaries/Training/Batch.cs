using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>One step's rows and what was found about them.</summary>
internal sealed class Batch : IDisposable
{
    private readonly Device _device;
    private readonly List<IDisposable> _owned = [];

    public Batch(DictionaryTrainer trainer, Tensor x, Tensor? target)
    {
        _device = x.Device;
        DictionaryConfig config = trainer.Config;
        Rows = (int)(x.Shape.Count / config.InputWidth);
        using Tensor? scaled = trainer.ScaleInput(x);
        Input = Own((scaled ?? x).Reshape(Rows, config.InputWidth));
        Target = Own(target is null ? Input.Share() : target.Reshape(Rows, config.OutputWidth));
        if (Target.Shape[1] != config.OutputWidth)
        {
            throw new DictionaryException($"A transcoder from {config.InputWidth} to {config.OutputWidth} needs targets of that width.");
        }

        Centered = Input;
        TargetVariance = Variance(HostSpan.Of<float>(Target), config.OutputWidth);
    }

    public int Rows { get; }

    /// <summary>[n, input], normalised.</summary>
    public Tensor Input { get; }

    /// <summary>[n, output].</summary>
    public Tensor Target { get; }

    /// <summary>[n, input]: what the encoder reads.</summary>
    public Tensor Centered { get; private set; }

    /// <summary>Σ (y − mean y)².</summary>
    public double TargetVariance { get; }

    /// <summary>Which features count as dead.</summary>
    public bool[] Dead { get; set; } = [];

    public int DeadCount => Dead.Count(dead => dead);

    public double Reconstruction { get; set; }

    public double Sparsity { get; set; }

    public double Auxiliary { get; set; }

    public double SquaredError { get; set; }

    public long Active { get; set; }

    public void Center(TrainedMatrix? bias)
    {
        if (bias is null)
        {
            return;
        }

        int d = Input.Shape[1];
        Tensor centered = New(d);
        Span<float> to = HostSpan.Of<float>(centered);
        ReadOnlySpan<float> from = HostSpan.Of<float>(Input), mean = bias.Values;
        for (int at = 0; at < to.Length; at += d)
        {
            ReadOnlySpan<float> x = from.Slice(at, d);
            Span<float> s = to.Slice(at, d);
            for (int i = 0; i < d; i++)
            {
                s[i] = x[i] - mean[i];
            }
        }

        Centered = centered;
    }

    /// <summary>A new [n, width], freed with the batch.</summary>
    public Tensor New(int width) => Own(_device.Allocate(ElementType.F32, Rows, width));

    public T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }

    public void Dispose() => _owned.ForEach(owned => owned.Dispose());

    /// <summary>Σ (v − mean v)² over all rows.</summary>
    public static double Variance(ReadOnlySpan<float> rows, int width)
    {
        double[] sums = new double[width], squares = new double[width];
        for (int at = 0; at < rows.Length; at += width)
        {
            for (int i = 0; i < width; i++)
            {
                double v = rows[at + i];
                sums[i] += v;
                squares[i] += v * v;
            }
        }

        double total = 0;
        int n = rows.Length / width;
        for (int i = 0; i < width; i++)
        {
            total += squares[i] - sums[i] * sums[i] / n;
        }

        return total;
    }
}
