using System.Text.Json;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>SAELens: <c>cfg.json</c>, of version 6 or flat as before, and <c>sae_weights.safetensors</c>.</summary>
internal static class SaeLensFormat
{
    public const string ConfigName = "cfg.json", WeightsName = "sae_weights.safetensors";

    private static readonly string[] s_types =
        ["float32", "float64", "float16", "bfloat16", "torch.float32", "torch.float64", "torch.float16", "torch.bfloat16"];

    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder) =>
        Read(Path.Combine(folder, ConfigName), Path.Combine(folder, WeightsName));

    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string configPath, string weightsPath)
    {
        ConfigFile config = ConfigFile.Load(configPath);
        ConfigFile? metadata = config.Has("metadata") ? config.Object("metadata") : null;
        bool flat = IsFlat(config, metadata);
        int d = config.Int("d_in"), features = config.Int("d_sae");
        string? activation = config.OptionalString("activation_fn_str") ?? config.OptionalString("activation_fn");
        string architecture = flat && !config.Has("architecture") && !config.IsNull("architecture") ? "standard" : config.String("architecture");
        if (config.Has("dtype") && !s_types.Contains(config.String("dtype")))
        {
            throw config.Unexpected("dtype", "a floating-point type of torch");
        }

        bool legacyTopK = flat && activation == "topk";
        if (legacyTopK)
        {
            architecture = "topk";
        }

        bool transcoder = architecture.EndsWith("transcoder", StringComparison.Ordinal);
        int output = transcoder ? config.OptionalInt("d_out") ?? d : d;
        ConfigFile settings = legacyTopK ? config.Object("activation_fn_kwargs") : config;
        string hook = config.OptionalString("hook_name") ?? config.OptionalString("hook_point") ?? metadata?.OptionalString("hook_name") ?? "";
        CheckReshape(config, hook);
        bool centers = config.Bool("apply_b_dec_to_input", flat && !transcoder);
        if (transcoder && centers)
        {
            throw config.Unexpected("apply_b_dec_to_input", "false: a transcoder's output bias says nothing about its input");
        }

        var result = new DictionaryConfig
        {
            InputWidth = d,
            OutputWidth = output,
            Features = features,
            Rule = Rule(config, settings, architecture, features),
            Normalization = Normalization(config),
            CentersInput = centers,
            IsTranscoder = transcoder,
            ScalesByDecoderNorm = config.Bool("rescale_acts_by_decoder_norm", false) && architecture.Contains("topk", StringComparison.Ordinal),
            Levels = config.Has("matryoshka_widths") ? config.Ints("matryoshka_widths", 1) : [],
            HookName = hook.Length > 0 ? hook : null,
            HookNameOut = metadata?.OptionalString("hook_name_out"),
            ModelName = metadata?.OptionalString("model_name") ?? config.OptionalString("model_name"),
        };
        using StoredWeights weights = StoredWeights.Open(weightsPath);
        return (result, Parameters(result, weights));
    }

    /// <summary>Before version 6 all settings lay flat, without metadata.</summary>
    private static bool IsFlat(ConfigFile config, ConfigFile? metadata)
    {
        string? version = metadata?.OptionalString("sae_lens_version") ?? config.OptionalString("sae_lens_version");
        return version is null ? metadata is null : int.TryParse(version.Split('.')[0], out int major) && major < 6;
    }

    private static ActivationRule Rule(ConfigFile config, ConfigFile settings, string architecture, int features)
    {
        ActivationRule Counted(ActivationKind kind)
        {
            int k = settings.Int("k");
            return k <= features ? new(kind, k) : throw settings.Unexpected("k", $"at most the {features} features");
        }

        return architecture switch
        {
            "standard" or "transcoder" or "skip_transcoder" => ActivationRule.Relu,
            "jumprelu" or "jumprelu_transcoder" or "jumprelu_skip_transcoder" => ActivationRule.JumpRelu,
            "gated" => new(ActivationKind.Gated),
            "topk" => Counted(ActivationKind.TopK),
            "abstopk" => Counted(ActivationKind.TopMagnitude),
            "batchtopk" or "matryoshka_batchtopk" => settings.Double("k") is > 0 and var k && k <= features
                ? new(ActivationKind.BatchTopK, k)
                : throw settings.Unexpected("k", $"a positive number up to the {features} features"),
            "matching_pursuit" => new(ActivationKind.MatchingPursuit)
            {
                MaxIterations = config.OptionalInt("max_iterations"),
                ResidualThreshold = config.OptionalDouble("residual_threshold") ?? 0,
                StopOnDuplicateSupport = config.Bool("stop_on_duplicate_support", true),
            },
            _ => throw config.Unexpected("architecture", "one of SAELens's architectures, such as 'standard', 'topk' or 'jumprelu'"),
        };
    }

    private static InputNormalization Normalization(ConfigFile config)
    {
        if (!config.Has("normalize_activations"))
        {
            return InputNormalization.None;
        }

        JsonElement value = config.Element("normalize_activations");
        return value.ValueKind switch
        {
            JsonValueKind.False => InputNormalization.None,
            JsonValueKind.True => InputNormalization.ExpectedAverage,
            JsonValueKind.String => value.GetString() switch
            {
                "none" => InputNormalization.None,
                "expected_average_only_in" => InputNormalization.ExpectedAverage,
                "constant_norm_rescale" => InputNormalization.ConstantNorm,
                "layer_norm" => InputNormalization.LayerNorm,
                "covariance_whitening" => InputNormalization.Whitening,
                _ => throw Unknown(config),
            },
            _ => throw Unknown(config),
        };

        static InvalidFileException Unknown(ConfigFile config) => config.Unexpected(
            "normalize_activations", "'none', 'expected_average_only_in', 'constant_norm_rescale', 'layer_norm' or 'covariance_whitening'");
    }

    /// <summary>Rows are flattened whatever it says; it only has to be something that is known.</summary>
    private static void CheckReshape(ConfigFile config, string hook)
    {
        string reshape = config.OptionalString("reshape_activations") ?? (hook.Contains("hook_z", StringComparison.Ordinal) ? "hook_z" : "none");
        if (reshape is not ("none" or "hook_z"))
        {
            throw config.Unexpected("reshape_activations", "'none' or 'hook_z'");
        }
    }

    private static DictionaryParameters Parameters(DictionaryConfig c, StoredWeights weights)
    {
        int d = c.InputWidth, features = c.Features;
        bool pursuit = c.Rule.Kind == ActivationKind.MatchingPursuit, gated = c.Rule.Kind == ActivationKind.Gated;
        float[] decoder = weights.Read("W_dec", features, c.OutputWidth);
        if (weights.Optional("scaling_factor", features) is { } factors && factors.Any(factor => factor != 1))
        {
            throw new InvalidFileException(weights.Path, "tensor 'scaling_factor' is not all ones, which no known version of SAELens uses");
        }

        return new DictionaryParameters
        {
            Encoder = pursuit ? decoder : weights.ReadTransposed("W_enc", features, d),
            Decoder = decoder,
            EncoderBias = pursuit ? new float[features] : weights.Read(gated ? "b_mag" : "b_enc", features),
            DecoderBias = weights.Read("b_dec", c.OutputWidth),
            Threshold = c.Rule.Kind == ActivationKind.JumpRelu ? weights.Read("threshold", features)
                : weights.Has("topk_threshold") ? Enumerable.Repeat(weights.Read("topk_threshold")[0], features).ToArray() : null,
            GateBias = gated ? weights.Read("b_gate", features) : null,
            MagnitudeScale = gated ? weights.Read("r_mag", features) : null,
            Skip = weights.Optional("W_skip", c.OutputWidth, d),
        };
    }
}
