using System.Collections.Immutable;
using InterpEngine.Formats;

namespace InterpEngine.Models;

/// <summary>
/// The inverse frequencies of a rotary embedding under its scaling, computed in single precision in the order in which Hugging Face
/// Transformers computes them: they are constants of a model, and published models were trained with those roundings.
/// </summary>
public sealed record RotaryFrequencies
{
    /// <summary>Channels of a head that are rotated; even.</summary>
    public required int Channels { get; init; }

    /// <summary>The base θ: pair i turns by θ^(−2i/channels) a position.</summary>
    public double Base { get; init; } = 10000;

    /// <summary>The scaling for longer texts.</summary>
    public RotaryScaling Scaling { get; init; } = new RotaryScaling.Default();

    /// <summary>What cosines and sines are multiplied by.</summary>
    public double AttentionFactor => Scaling.AttentionFactor;

    /// <summary>
    /// Texts of lengths with the same key rotate alike. A length-dependent scaling (dynamic, longrope) has several keys; a text must
    /// then be run with one of them as a whole.
    /// </summary>
    public int LengthKey(int length) => Scaling.LengthKey(length);

    /// <summary>One inverse frequency for each pair of channels.</summary>
    /// <param name="length">Length of the text; matters to length-dependent scalings only.</param>
    public float[] Compute(int length) => Scaling.Apply(this, length);

    /// <summary>1/θ^(2i/channels), each operation rounded to single precision.</summary>
    internal float[] Unscaled(double theta)
    {
        var inverse = new float[Channels / 2];
        for (int i = 0; i < inverse.Length; i++)
        {
            inverse[i] = 1 / Power(theta, i);
        }

        return inverse;
    }

    internal float Power(double theta, int pair) => (float)Math.Pow(theta, (float)(2 * pair) / Channels);

    /// <summary>
    /// Reads the settings in either spelling: <c>rope_parameters</c> (transformers 5) or <c>rope_theta</c> with <c>rope_scaling</c>.
    /// </summary>
    /// <param name="config">The model's settings.</param>
    /// <param name="headSize">Channels of a head.</param>
    /// <param name="rotated">Share of them that is rotated where the settings say nothing.</param>
    /// <param name="context"><c>max_position_embeddings</c>.</param>
    /// <param name="theta">The base where the settings say nothing.</param>
    /// <exception cref="ModelException">The scaling is unknown or its numbers are impossible.</exception>
    public static RotaryFrequencies Read(ConfigFile config, int headSize, double rotated, int context, double theta = 10000)
    {
        ArgumentNullException.ThrowIfNull(config);
        ConfigFile? parameters = config.Has("rope_parameters") ? config.Object("rope_parameters") : null;
        ConfigFile? scaling = config.Has("rope_scaling") ? config.Object("rope_scaling") : null;
        double given = One(config, [(parameters, "rope_theta"), (config, "rope_theta"), (config, "rotary_emb_base")]) ?? theta;
        double share = One(config,
            [(parameters, "partial_rotary_factor"), (config, "partial_rotary_factor"), (config, "rotary_pct")]) ?? rotated;
        return Of(config, parameters ?? scaling, headSize, share, context, given);
    }

    /// <summary>From one object of settings (or none) and what stands outside it.</summary>
    internal static RotaryFrequencies Of(ConfigFile config, ConfigFile? settings, int headSize, double share, int context, double theta)
    {
        int channels = (int)(headSize * share);
        if (channels <= 0 || channels > headSize || channels % 2 != 0 || theta <= 0)
        {
            throw new ModelException(
                $"{config.Path}: a share of {share} of heads of {headSize} channels, with base {theta}, cannot be rotated; expected an "
                + "even number of channels and a positive base.");
        }

        return new RotaryFrequencies
        {
            Channels = channels,
            Base = theta,
            Scaling = RotaryScaling.Read(settings, config.OptionalInt("original_max_position_embeddings"), context),
        };
    }

    /// <summary>One setting under several names; they must not contradict each other.</summary>
    private static double? One(ConfigFile config, ReadOnlySpan<(ConfigFile? From, string Key)> names)
    {
        double? found = null;
        foreach ((ConfigFile? from, string key) in names)
        {
            if (from?.OptionalDouble(key) is not { } value)
            {
                continue;
            }

            if (found is { } other && other != value)
            {
                throw new ModelException($"{config.Path}: '{key}' is {value}, but the same setting is {other} under another name.");
            }

            found = value;
        }

        return found;
    }
}

/// <summary>How a rotary embedding is stretched for longer texts. The formulas are those of Transformers' rope utilities.</summary>
public abstract record RotaryScaling
{
    /// <summary>What cosines and sines are multiplied by.</summary>
    public virtual double AttentionFactor => 1;

    internal virtual int LengthKey(int length) => 0;

    internal abstract float[] Apply(RotaryFrequencies rotary, int length);

    /// <summary>None.</summary>
    public sealed record Default : RotaryScaling
    {
        internal override float[] Apply(RotaryFrequencies rotary, int length) => rotary.Unscaled(rotary.Base);
    }

    /// <summary>Positions divided by a factor.</summary>
    public sealed record Linear(float Factor) : RotaryScaling
    {
        internal override float[] Apply(RotaryFrequencies rotary, int length) =>
            [.. rotary.Unscaled(rotary.Base).Select(f => f / Factor)];
    }

    /// <summary>NTK-aware: a larger base for texts longer than the model was trained on.</summary>
    public sealed record Dynamic(double Factor, int Context) : RotaryScaling
    {
        internal override int LengthKey(int length) => Math.Max(length, Context);

        internal override float[] Apply(RotaryFrequencies rotary, int length)
        {
            double stretch = Factor * LengthKey(length) / Context - (Factor - 1);
            return rotary.Unscaled(rotary.Base * Math.Pow(stretch, rotary.Channels / (rotary.Channels - 2.0)));
        }
    }

    /// <summary>YaRN (arXiv 2309.00071): slow pairs are interpolated, fast ones left, with a ramp between.</summary>
    public sealed record Yarn(double Factor, double OriginalContext, double BetaFast, double BetaSlow, bool Truncate, double Attention)
        : RotaryScaling
    {
        /// <inheritdoc/>
        public override double AttentionFactor => Attention;

        internal override float[] Apply(RotaryFrequencies rotary, int length)
        {
            double low = PairOfRotations(BetaFast), high = PairOfRotations(BetaSlow);
            if (Truncate)
            {
                (low, high) = (Math.Floor(low), Math.Ceiling(high));
            }

            (low, high) = (Math.Max(low, 0), Math.Min(high, rotary.Channels - 1));
            float width = (float)(high == low ? 0.001 : high - low);
            var inverse = new float[rotary.Channels / 2];
            for (int i = 0; i < inverse.Length; i++)
            {
                float power = rotary.Power(rotary.Base, i);
                float extrapolated = 1 / power, interpolated = 1 / ((float)Factor * power);
                float keep = 1 - Math.Clamp((i - (float)low) / width, 0, 1);
                inverse[i] = interpolated * (1 - keep) + extrapolated * keep;
            }

            return inverse;

            double PairOfRotations(double rotations) =>
                rotary.Channels * Math.Log(OriginalContext / (rotations * 2 * Math.PI)) / (2 * Math.Log(rotary.Base));
        }
    }

    /// <summary>Llama 3's: pairs by wavelength are left, divided by the factor, or something between.</summary>
    public sealed record Llama3(float Factor, float LowFrequency, float HighFrequency, int OriginalContext) : RotaryScaling
    {
        internal override float[] Apply(RotaryFrequencies rotary, int length)
        {
            float[] inverse = rotary.Unscaled(rotary.Base);
            for (int i = 0; i < inverse.Length; i++)
            {
                float f = inverse[i], wavelength = (float)(2 * Math.PI) / f;
                float smooth = (OriginalContext / wavelength - LowFrequency) / (HighFrequency - LowFrequency);
                inverse[i] = wavelength > OriginalContext / LowFrequency ? f / Factor
                    : wavelength < OriginalContext / HighFrequency ? f
                    : (1 - smooth) * f / Factor + smooth * f;
            }

            return inverse;
        }
    }

    /// <summary>LongRoPE (arXiv 2402.13753): a factor for every pair, one list for short texts and one for long.</summary>
    public sealed record LongRope(ImmutableArray<float> Short, ImmutableArray<float> Long, int OriginalContext, double Attention)
        : RotaryScaling
    {
        /// <inheritdoc/>
        public override double AttentionFactor => Attention;

        internal override int LengthKey(int length) => length > OriginalContext ? 1 : 0;

        internal override float[] Apply(RotaryFrequencies rotary, int length)
        {
            ImmutableArray<float> factors = LengthKey(length) == 1 ? Long : Short;
            if (factors.Length != rotary.Channels / 2)
            {
                throw new ModelException($"longrope has {factors.Length} factors; expected one for each of {rotary.Channels / 2} pairs.");
            }

            return [.. factors.Select((factor, i) => 1 / (factor * rotary.Power(rotary.Base, i)))];
        }
    }

    /// <param name="settings">The object that describes it, or null for none.</param>
    /// <param name="trained"><c>original_max_position_embeddings</c> beside that object, which longrope looks at (Phi-3).</param>
    /// <param name="context"><c>max_position_embeddings</c>.</param>
    internal static RotaryScaling Read(ConfigFile? settings, int? trained, int context)
    {
        string type = settings?.OptionalString("rope_type") ?? settings?.OptionalString("type") ?? "default";
        if (type == "default" || settings is null)
        {
            return new Default();
        }

        // The second spelling of the type is allowed beside the first.
        settings.OptionalString("type");
        type = type == "su" ? "longrope" : type;
        int original = settings.OptionalInt("original_max_position_embeddings") ?? (type == "longrope" ? trained : null) ?? context;
        double factor = type is "yarn" or "longrope"
            ? settings.OptionalDouble("factor") ?? (double)context / original
            : settings.Double("factor");
        if (factor < 1)
        {
            throw settings.Unexpected("factor", "a number of at least 1");
        }

        switch (type)
        {
            case "linear":
                return new Linear((float)factor);
            case "dynamic":
                return new Dynamic(factor, context);
            case "llama3":
                var llama3 = new Llama3(
                    (float)factor, (float)settings.Double("low_freq_factor"), (float)settings.Double("high_freq_factor"), original);
                return llama3.HighFrequency > llama3.LowFrequency && llama3.LowFrequency > 0
                    ? llama3
                    : throw settings.Unexpected("high_freq_factor", "more than low_freq_factor, and both positive");
            case "yarn":
                double? scale = settings.OptionalDouble("mscale"), scaleAll = settings.OptionalDouble("mscale_all_dim");
                double attention = settings.OptionalDouble("attention_factor")
                    ?? (scale is { } s && scaleAll is { } all && s != 0 && all != 0 ? Magnitude(s) / Magnitude(all) : Magnitude(1));
                return new Yarn(factor, original, settings.OptionalDouble("beta_fast") ?? 32, settings.OptionalDouble("beta_slow") ?? 1,
                    settings.Bool("truncate", true), attention);
            case "longrope":
                double long_ = settings.OptionalDouble("attention_factor")
                    ?? (factor <= 1 ? 1 : Math.Sqrt(1 + Math.Log(factor) / Math.Log(original)));
                return new LongRope([.. settings.Doubles("short_factor").Select(x => (float)x)],
                    [.. settings.Doubles("long_factor").Select(x => (float)x)], original, long_);
            default:
                throw settings.Unexpected("rope_type", "default, linear, dynamic, yarn, llama3 or longrope");
        }

        double Magnitude(double scale) => factor <= 1 ? 1 : 0.1 * scale * Math.Log(factor) + 1;
    }
}
