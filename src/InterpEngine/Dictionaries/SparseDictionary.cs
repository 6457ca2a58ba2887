using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>
/// A sparse dictionary on a device: an SAE, a transcoder or a crosscoder. It tells which features are active in a row and how much,
/// and makes a row of features again. Safe to use from several threads.
/// </summary>
/// <remarks>
/// Inputs may have any shape whose last axes multiply to the input's width: [batch, positions, d], or [batch, positions, heads, d_head] for
/// attention's z, or [n, layers, d] for a crosscoder. They are F32 and on the dictionary's device.
/// </remarks>
public sealed class SparseDictionary : IDisposable
{
    private readonly Weight _encoder;
    private readonly Weight? _skip;
    private readonly Tensor _decoder, _decoderBias;
    private readonly Tensor? _bias;
    private readonly float[]? _scale;
    private readonly DictionaryParameters _parameters;

    /// <summary>Puts weights on a device.</summary>
    /// <param name="config">What it is.</param>
    /// <param name="parameters">Its weights; they are copied, but for vectors.</param>
    /// <param name="device">Where it computes.</param>
    /// <param name="weightType">How the encoder is kept: F32, BF16 or I8. The decoder stays F32.</param>
    /// <exception cref="DictionaryException">Weights and settings do not belong together.</exception>
    public SparseDictionary(
        DictionaryConfig config, DictionaryParameters parameters, Device device, ElementType weightType = ElementType.F32)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(device);
        Check(config, parameters);
        (Config, Device, _parameters) = (config, device, parameters);
        int d = config.InputWidth, features = config.Features;
        _encoder = Directions.Pack(device, parameters.Encoder, d, features, weightType);
        _skip = parameters.Skip is { } skip ? Directions.Pack(device, skip, d, config.OutputWidth, weightType) : null;
        _decoder = device.Upload<float>(parameters.Decoder, features, config.OutputWidth);
        _decoderBias = device.Upload<float>(parameters.DecoderBias, config.OutputWidth);
        _bias = config.Rule.Kind == ActivationKind.Gated ? null : device.Upload<float>(parameters.EncoderBias, features);
        _scale = config.ScalesByDecoderNorm ? parameters.DecoderNorms() : null;
    }

    /// <summary>What it is.</summary>
    public DictionaryConfig Config { get; }

    /// <summary>Where it computes. It is the caller's.</summary>
    public Device Device { get; }

    /// <summary>[features, output]: the direction that each feature writes. It is the dictionary's own.</summary>
    public Tensor Decoder => _decoder;

    /// <summary>Its vectors on the host, and the matrices that it was made of.</summary>
    public DictionaryParameters Parameters => _parameters;

    /// <summary>Reads a dictionary of any format that <see cref="Formats.DictionaryFile"/> knows.</summary>
    /// <exception cref="InterpEngine.Formats.InvalidFileException">A file is missing, broken or hostile.</exception>
    public static SparseDictionary Load(string path, Device device, ElementType weightType = ElementType.F32)
    {
        (DictionaryConfig config, DictionaryParameters parameters) = Formats.DictionaryFile.Read(path);
        return new SparseDictionary(config, parameters, device, weightType);
    }

    /// <summary>The active features of each row.</summary>
    /// <param name="x">Rows of the input's width.</param>
    /// <param name="rule">Another rule than the dictionary's own, or null.</param>
    /// <param name="only">[features]: the features that may be active; null for all.</param>
    /// <param name="pre">Whether the pre-activations are wanted too, dense.</param>
    /// <exception cref="DictionaryException">The rows do not fit.</exception>
    public Encoding Encode(Tensor x, ActivationRule? rule = null, IReadOnlyList<bool>? only = null, bool pre = false)
    {
        ArgumentNullException.ThrowIfNull(x);
        rule ??= Config.Rule;
        var input = new NormalizedInput(this, x);
        Tensor? dense = null;
        try
        {
            if (rule.Kind == ActivationKind.MatchingPursuit)
            {
                return input.With(new MatchingPursuit(Device, _encoder, _decoder, rule).Encode(input.Rows, Offset, out _), null);
            }

            dense = pre ? Device.Allocate(ElementType.F32, input.Count, Config.Features) : null;
            float[]? scale = _scale ?? (Config.ScalesScores ? _parameters.ScoreScale : null);
            using Tensor? scores = scale is null ? null : Device.Upload<float>(scale, scale.Length);
            using Tensor? threshold = Threshold(rule, only);
            SparseRows rows = Device.Encode(new SparseEncode
            {
                X = input.Rows,
                Offset = Offset,
                W = _encoder,
                Bias = _bias,
                Scale = scores,
                Threshold = threshold,
                Selection = Selection(rule),
                K = SelectedCount(rule, input.Count),
                Pre = dense is null ? default(Matrix?) : dense,
                Out = null!,
            });
            return input.With(Finish(rule, rows), dense);
        }
        catch
        {
            dense?.Dispose();
            throw;
        }
        finally
        {
            input.Dispose();
        }
    }

    /// <summary>What features add up to: rows of the output's width, in the scale of the input.</summary>
    /// <param name="encoding">The features; edit them with <see cref="Encoding.With(Func{int, int, float, float})"/>.</param>
    public Tensor Decode(Encoding encoding)
    {
        ArgumentNullException.ThrowIfNull(encoding);
        SparseRows features = encoding.Features;
        Tensor output = Device.Allocate(ElementType.F32, features.Rows, Config.OutputWidth);
        bool biased = Config.Rule.Kind != ActivationKind.MatchingPursuit || Config.CentersInput;
        using SparseRows? unscaled = _scale is null ? null : features.Map((_, feature, value) => value / _scale[feature]);
        Device.Run(new SparseProduct { S = unscaled ?? features, M = _decoder, Bias = biased ? _decoderBias : null, Out = output });
        if (!Config.IsTranscoder)
        {
            encoding.Denormalize(output);
        }

        if (_skip is not null)
        {
            Device.Run(new MatMul { X = encoding.Input.Reshape(features.Rows, Config.InputWidth), W = _skip, Residual = output, Out = output });
        }

        using (output)
        {
            return output.Reshape(encoding.OutputShape.Axes);
        }
    }

    /// <summary>Encodes and decodes.</summary>
    public Tensor Reconstruct(Tensor x, ActivationRule? rule = null)
    {
        using Encoding encoding = Encode(x, rule);
        return Decode(encoding);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _encoder.Dispose();
        _skip?.Dispose();
        _decoder.Dispose();
        _decoderBias.Dispose();
        _bias?.Dispose();
    }

    /// <summary>What the encoder subtracts from its input, or null.</summary>
    private Tensor? Offset => Config.CentersInput ? _decoderBias : null;

    /// <summary>What scores must exceed under a rule; null for nothing at all.</summary>
    private Tensor? Threshold(ActivationRule rule, IReadOnlyList<bool>? only)
    {
        float least = rule.KeepsNegative || rule.Kind == ActivationKind.TopMagnitude ? float.NegativeInfinity : 0;
        if (only is null && float.IsNegativeInfinity(least) && rule.Kind != ActivationKind.JumpRelu)
        {
            return null;
        }

        var threshold = new float[Config.Features];
        for (int f = 0; f < threshold.Length; f++)
        {
            float own = rule.Kind switch
            {
                ActivationKind.JumpRelu => Math.Max(_parameters.Threshold![f], least),
                ActivationKind.Gated => -_parameters.GateBias![f],
                _ => least,
            };
            threshold[f] = only is null || only[f] ? own : float.PositiveInfinity;
        }

        return Device.Upload<float>(threshold, threshold.Length);
    }

    private static Selection Selection(ActivationRule rule) => rule.Kind switch
    {
        ActivationKind.TopK => Kernels.Selection.TopK,
        ActivationKind.TopMagnitude => Kernels.Selection.TopMagnitude,
        ActivationKind.GroupMax => Kernels.Selection.GroupMax,
        ActivationKind.BatchTopK => Kernels.Selection.BatchTopK,
        _ => Kernels.Selection.Threshold,
    };

    private static int SelectedCount(ActivationRule rule, int rows) =>
        checked((int)(rule.Kind == ActivationKind.BatchTopK ? rule.K * rows : rule.K));

    /// <summary>From the survivors' h to activations.</summary>
    private SparseRows Finish(ActivationRule rule, SparseRows rows)
    {
        Func<int, int, float, float>? value = rule.Kind == ActivationKind.Gated
            ? (_, f, p) => Math.Max(0, p * MathF.Exp(_parameters.MagnitudeScale![f]) + _parameters.EncoderBias[f])
            : _scale is not null ? (_, f, h) => h * _scale[f] : null;
        if (value is null)
        {
            return rows;
        }

        using (rows)
        {
            return rows.Map(value);
        }
    }

    /// <summary>Whether weights and settings belong together.</summary>
    /// <exception cref="DictionaryException">They do not.</exception>
    internal static void Check(DictionaryConfig c, DictionaryParameters p)
    {
        void Length(float[]? array, long expected, string name)
        {
            if (array is not null && array.Length != expected)
            {
                throw new DictionaryException($"{name} has {array.Length} elements; expected {expected}.");
            }
        }

        Length(p.Encoder, (long)c.Features * c.InputWidth, "The encoder");
        Length(p.Decoder, (long)c.Features * c.OutputWidth, "The decoder");
        Length(p.EncoderBias, c.Features, "The encoder's bias");
        Length(p.DecoderBias, c.OutputWidth, "The decoder's bias");
        Length(p.Threshold, c.Features, "The threshold");
        Length(p.GateBias, c.Features, "The gate's bias");
        Length(p.MagnitudeScale, c.Features, "The magnitudes' scale");
        Length(p.ScoreScale, c.Features, "The scale of scores");
        Length(p.Skip, (long)c.OutputWidth * c.InputWidth, "The skip connection");
        Length(p.InputMean, c.InputWidth, "The input's mean");
        Length(p.InputScale, c.InputWidth, "The input's scale");
        bool complete = (c.Rule.Kind != ActivationKind.JumpRelu || p.Threshold is not null)
            && (c.Rule.Kind != ActivationKind.Gated || (p.GateBias is not null && p.MagnitudeScale is not null))
            && (!c.ScalesScores || p.ScoreScale is not null)
            && (p.InputMean is null) == (p.InputScale is null);
        bool possible = c.Rule.Kind is not (ActivationKind.TopK or ActivationKind.TopMagnitude or ActivationKind.GroupMax)
            || (c.Rule.K >= 1 && c.Rule.K <= c.Features && c.Rule.K == Math.Floor(c.Rule.K));
        if (!complete || !possible || (c.CentersInput && c.InputWidth != c.OutputWidth)
            || (c.Rule.Kind == ActivationKind.GroupMax && c.Features % (int)c.Rule.K != 0))
        {
            throw new DictionaryException(
                $"A dictionary of {c.Features} features with the rule {c.Rule.Kind} (k = {c.Rule.K}) lacks parameters, or they do not fit.");
        }
    }
}
