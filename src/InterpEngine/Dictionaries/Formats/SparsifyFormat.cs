using System.Text.Json;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>EleutherAI's sparsify: <c>cfg.json</c> and <c>sae.safetensors</c>. Where a dictionary belongs stands in keys of our own, which
/// sparsify ignores as it does all that it does not know.</summary>
internal static class SparsifyFormat
{
    public const string ConfigName = "cfg.json", WeightsName = "sae.safetensors";

    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder)
    {
        ConfigFile config = ConfigFile.Load(Path.Combine(folder, ConfigName));
        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, WeightsName));
        int d = config.Int("d_in"), features = config.OptionalInt("num_latents", 0) is > 0 and int given
            ? given
            : checked(d * config.Int("expansion_factor"));
        string activation = config.OptionalString("activation") ?? "topk";
        int k = config.Int("k");
        bool transcodes = config.Bool("transcode", false);
        bool groups = activation == "groupmax";
        if (!groups && activation != "topk")
        {
            throw config.Unexpected("activation", "'topk' or 'groupmax'");
        }

        if (k > features || (groups && features % k != 0))
        {
            throw config.Unexpected("k", $"a number that fits {features} features");
        }

        var result = new DictionaryConfig
        {
            InputWidth = d,
            OutputWidth = d,
            Features = features,
            Rule = new(groups ? ActivationKind.GroupMax : ActivationKind.TopK, k),
            CentersInput = !transcodes,
            IsTranscoder = transcodes,
            HookName = config.OptionalString("hook_name"),
            HookNameOut = config.OptionalString("hook_name_out"),
            ModelName = config.OptionalString("model_name"),
        };
        return (result, new DictionaryParameters
        {
            Encoder = weights.Read("encoder.weight", features, d),
            EncoderBias = weights.Read("encoder.bias", features),
            Decoder = weights.Read("W_dec", features, d),
            DecoderBias = weights.Read("b_dec", d),
            Skip = config.Bool("skip_connection", false) ? weights.Read("W_skip", d, d) : null,
        });
    }

    /// <summary>Whether sparsify has such dictionaries and SAELens has not: transcoders and skip connections of the k largest,
    /// groups.</summary>
    public static bool Alone(DictionaryConfig config, DictionaryParameters parameters) =>
        (config.Rule.Kind == ActivationKind.GroupMax
            || (config.Rule.Kind == ActivationKind.TopK && (config.IsTranscoder || parameters.Skip is not null)))
        && !config.Rule.KeepsNegative && !config.ScalesByDecoderNorm && !config.ScalesScores
            && config.Normalization == InputNormalization.None
        && config.InputWidth == config.OutputWidth && config.CentersInput == !config.IsTranscoder && config.Layers == 1
            && parameters.InputMean is null;

    /// <summary>Writes a dictionary.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public static void Write(string folder, DictionaryConfig config, DictionaryParameters parameters)
    {
        int d = config.InputWidth, features = config.Features;
        (string Name, float[] Values, long[] Shape)[] tensors =
        [
            ("encoder.weight", parameters.Encoder, [features, d]), ("encoder.bias", parameters.EncoderBias, [features]),
            ("W_dec", parameters.Decoder, [features, d]), ("b_dec", parameters.DecoderBias, [d]),
            .. parameters.Skip is { } skip ? new[] { ("W_skip", skip, new long[] { d, d }) } : [],
        ];
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, WeightsName),
                tensors.Select(tensor => new SafetensorsDeclaration(tensor.Name, SafetensorsType.F32, tensor.Shape)));
        foreach ((string name, float[] values, _) in tensors)
        {
            StoredWeights.Write(writer, name, values);
        }

        writer.Complete();
        AtomicFile.WriteAllBytes(Path.Combine(folder, ConfigName), JsonSerializer.SerializeToUtf8Bytes(new Dictionary<string, object?>
        {
            ["activation"] = config.Rule.Kind == ActivationKind.GroupMax ? "groupmax" : "topk",
            ["expansion_factor"] = Math.Max(1, features / d),
            ["normalize_decoder"] = !config.IsTranscoder,
            ["num_latents"] = features,
            ["k"] = (int)config.Rule.K,
            ["multi_topk"] = false,
            ["skip_connection"] = parameters.Skip is not null,
            ["transcode"] = config.IsTranscoder,
            ["d_in"] = d,
            ["hook_name"] = config.HookName,
            ["hook_name_out"] = config.HookNameOut,
            ["model_name"] = config.ModelName,
        }));
    }
}
