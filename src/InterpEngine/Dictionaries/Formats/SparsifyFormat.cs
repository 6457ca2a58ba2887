using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>EleutherAI's sparsify: <c>cfg.json</c> and <c>sae.safetensors</c>.</summary>
internal static class SparsifyFormat
{
    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder)
    {
        ConfigFile config = ConfigFile.Load(Path.Combine(folder, "cfg.json"));
        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, "sae.safetensors"));
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
}
