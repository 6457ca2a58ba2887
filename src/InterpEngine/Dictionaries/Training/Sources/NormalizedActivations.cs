using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>
/// Rows of another source in a scale that was estimated from them. The dictionary learns in that scale; when it is done, <see cref="Fold"/> makes
/// it one of the rows as they are.
/// </summary>
public sealed class NormalizedActivations : IActivationSource
{
    private readonly IActivationSource _source;
    private Whitening? _whitening;

    /// <summary>Multiplies rows, and targets by a factor of their own.</summary>
    /// <param name="source">Where they come from. It is disposed with this.</param>
    /// <param name="scale">The rows' factor: <see cref="EstimateScale"/>.</param>
    /// <param name="targetScale">The targets' factor.</param>
    public NormalizedActivations(IActivationSource source, double scale, double targetScale = 1)
    {
        ArgumentNullException.ThrowIfNull(source);
        (_source, Scale, TargetScale) = (source, scale, targetScale);
    }

    /// <summary>Whitens rows.</summary>
    /// <param name="source">Where they come from; it has no targets. It is disposed with this.</param>
    /// <param name="whitening">What makes them white: <see cref="Whitening.Estimate"/>.</param>
    public NormalizedActivations(IActivationSource source, Whitening whitening)
        : this(source, 1) => _whitening = source.TargetWidth == 0
            ? whitening
            : throw new DictionaryException("Rows can be whitened for an autoencoder only: nothing is known about a transcoder's targets.");

    /// <summary>What rows are multiplied by.</summary>
    public double Scale { get; private set; }

    /// <summary>What targets are multiplied by.</summary>
    public double TargetScale { get; private set; }

    /// <inheritdoc/>
    public int Width => _source.Width;

    /// <inheritdoc/>
    public int TargetWidth => _source.TargetWidth;

    /// <summary>
    /// SAELens's <c>expected_average_only_in</c>: √d over the mean of the batches' mean norms. As there, the batches are drawn from the source and
    /// not trained on.
    /// </summary>
    /// <param name="source">Where rows come from.</param>
    /// <param name="batch">Rows of a batch.</param>
    /// <param name="batches">How many; SAELens takes 1000.</param>
    public static double EstimateScale(IActivationSource source, int batch, int batches = 1000)
    {
        ArgumentNullException.ThrowIfNull(source);
        return Math.Sqrt(source.Width) / Mean(source, batch, batches, square => Math.Sqrt(square));
    }

    /// <summary>dictionary_learning's <c>normalize_activations</c>: one over the root of the mean squared norm.</summary>
    /// <param name="source">Where rows come from.</param>
    /// <param name="batch">Rows of a batch.</param>
    /// <param name="batches">How many; the library takes 101.</param>
    public static double EstimateRootMeanSquareScale(IActivationSource source, int batch, int batches = 101)
    {
        ArgumentNullException.ThrowIfNull(source);
        return 1 / Math.Sqrt(Mean(source, batch, batches, square => square));
    }

    /// <summary>A dictionary of normalised rows as one of the rows as they are.</summary>
    public (DictionaryConfig Config, DictionaryParameters Parameters) Fold(DictionaryConfig config, DictionaryParameters parameters) =>
        _whitening is { } w
            ? DictionaryFolding.FoldWhitening(config, parameters, w.Mean, w.Matrix, w.Inverse)
            : DictionaryFolding.FoldActivationScale(config, parameters, (float)Scale, TargetWidth > 0 ? (float)TargetScale : null);

    /// <inheritdoc/>
    public (Tensor Rows, Tensor? Targets) NextPair(int count)
    {
        (Tensor rows, Tensor? targets) = _source.NextPair(count);
        if (_whitening is { } whitening)
        {
            using (rows)
            {
                return (Whiten(rows, whitening), null);
            }
        }

        Multiply(rows, Scale);
        if (targets is not null)
        {
            Multiply(targets, TargetScale);
        }

        return (rows, targets);
    }

    /// <inheritdoc/>
    public void Save(CheckpointWriter state)
    {
        ArgumentNullException.ThrowIfNull(state);
        state.Add("scale", Scale);
        state.Add("target scale", TargetScale);
        if (_whitening is { } w)
        {
            state.AddSingles("mean", w.Mean, Width);
            state.AddSingles("matrix", w.Matrix, Width, Width);
            state.AddSingles("inverse", w.Inverse, Width, Width);
        }

        _source.Save(state.Scope("rows"));
    }

    /// <inheritdoc/>
    public void Load(CheckpointReader state)
    {
        ArgumentNullException.ThrowIfNull(state);
        (Scale, TargetScale) = (state.Number("scale"), state.Number("target scale"));
        _whitening = state.Has("mean")
            ? new Whitening(state.Singles("mean", Width), state.Singles("matrix", Width, Width), state.Singles("inverse", Width, Width))
            : null;
        _source.Load(state.Scope("rows"));
    }

    /// <inheritdoc/>
    public void Dispose() => _source.Dispose();

    private static void Multiply(Tensor rows, double factor) =>
        rows.Device.Run(new Map { Kind = MapKind.Scale, X = rows, Parameter = (float)factor, Out = rows });

    /// <summary>The mean over batches of the rows' mean, of something about their squared norms.</summary>
    private static double Mean(IActivationSource source, int batch, int batches, Func<float, double> of)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batches);
        double sum = 0;
        for (int i = 0; i < batches; i++)
        {
            using Tensor rows = source.Next(batch);
            sum += SquaredNorms(rows).Average(of);
        }

        return sum / batches;
    }

    private static float[] SquaredNorms(Tensor rows)
    {
        using Tensor squares = rows.Device.Allocate(ElementType.F32, rows.Shape[0]);
        rows.Device.Run(new ProjectGradient { Parameter = rows, Gradient = rows, Squares = squares });
        return squares.ToArray<float>();
    }

    private static Tensor Whiten(Tensor rows, Whitening whitening)
    {
        int d = rows.Shape[1];
        Device device = rows.Device;
        float[] values = rows.ToArray<float>();
        for (int i = 0; i < values.Length; i++)
        {
            values[i] -= whitening.Mean[i % d];
        }

        using Tensor centred = device.Upload<float>(values, rows.Shape[0], d);
        using Weight matrix = Directions.Pack(device, Formats.StoredWeights.Transpose(whitening.Matrix, d, d), d, d, ElementType.F32);
        Tensor white = device.Allocate(ElementType.F32, rows.Shape[0], d);
        device.Run(new MatMul { X = centred, W = matrix, Out = white });
        return white;
    }
}
