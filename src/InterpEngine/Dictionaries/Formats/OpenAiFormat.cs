using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>OpenAI's sparse_autoencoder: the tensors as <c>ae.safetensors</c>, the activation in <c>config.json</c>.</summary>
internal static class OpenAiFormat
{
    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder, StoredWeights weights)
    {
        ConfigFile config = ConfigFile.Load(Path.Combine(folder, "config.json"));
        (int features, int d) = weights.MatrixShape("encoder.weight");
        bool topK = config.String("activation") switch
        {
            "TopK" => true,
            "ReLU" => false,
            _ => throw config.Unexpected("activation", "'TopK' or 'ReLU'"),
        };
        return (new DictionaryConfig
        {
            InputWidth = d,
            OutputWidth = d,
            Features = features,
            Rule = topK ? TopK(config.Object("activation_state_dict"), features) : ActivationRule.Relu,
            Normalization = topK ? InputNormalization.LayerNorm : InputNormalization.None,
            CentersInput = true,
        }, new DictionaryParameters
        {
            Encoder = weights.Read("encoder.weight", features, d),
            EncoderBias = weights.Read("latent_bias", features),
            Decoder = weights.ReadTransposed("decoder.weight", features, d),
            DecoderBias = weights.Read("pre_bias", d),
        });
    }

    private static ActivationRule TopK(ConfigFile state, int features)
    {
        int k = state.Int("k");
        string after = state.OptionalString("postact_fn") ?? "ReLU";
        return k > features ? throw state.Unexpected("k", $"at most the {features} features")
            : after is "ReLU" or "Identity" ? new(ActivationKind.TopK, k) { KeepsNegative = after == "Identity" }
            : throw state.Unexpected("postact_fn", "'ReLU' or 'Identity'");
    }
}
