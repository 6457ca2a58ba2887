using System.Collections.Immutable;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>
/// dictionary_learning: the tensors of a state dict as <c>ae.safetensors</c>. What it is follows from the tensors; its config.json names
/// classes that it does not hold.
/// </summary>
internal static class DictionaryLearningFormat
{
    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string folder, StoredWeights weights)
    {
        string configPath = Path.Combine(folder, "config.json");
        ConfigFile? trainer = File.Exists(configPath) && ConfigFile.Load(configPath) is var config && config.Has("trainer")
            ? config.Object("trainer")
            : null;
        bool rows = weights.Has("W_enc");
        (int d, int features) = rows ? weights.MatrixShape("W_enc") : Swap(weights.MatrixShape("encoder.weight"));
        float[] encoder = rows ? weights.ReadTransposed("W_enc", features, d) : weights.Read("encoder.weight", features, d);
        float[] decoder = rows ? weights.Read("W_dec", features, d) : weights.ReadTransposed("decoder.weight", features, d);
        bool gated = weights.Has("gate_bias"), jump = rows && !weights.Has("k");
        bool autoEncoderNew = weights.Has("decoder.bias");
        string bias = gated ? "decoder_bias" : weights.Has("b_dec") ? "b_dec" : autoEncoderNew ? "decoder.bias" : "bias";
        float[]? threshold = weights.Has("threshold") ? (jump ? weights.Read("threshold", features) : weights.Read("threshold")) : null;
        bool batch = weights.Has("k") && (rows || trainer?.OptionalString("dict_class") == "BatchTopKSAE");
        int k = weights.Has("k") ? (int)weights.Integers("k")[0] : 0;
        if (weights.Has("k") && (k < 1 || k > features))
        {
            throw new InvalidFileException(weights.Path, $"tensor 'k' is {k}; expected 1 to {features}");
        }

        return (new DictionaryConfig
        {
            InputWidth = d,
            OutputWidth = d,
            Features = features,
            Rule = gated ? new(ActivationKind.Gated)
                : jump || batch ? ActivationRule.JumpRelu
                : weights.Has("k") ? new(ActivationKind.TopK, k) : ActivationRule.Relu,
            CentersInput = !jump && !autoEncoderNew,
            Levels = weights.Has("group_sizes") ? Levels(weights) : [],
            ModelName = trainer?.OptionalString("lm_name"),
        }, new DictionaryParameters
        {
            Encoder = encoder,
            Decoder = decoder,
            EncoderBias = weights.Read(gated ? "mag_bias" : rows ? "b_enc" : "encoder.bias", features),
            DecoderBias = weights.Read(bias, d),
            Threshold = threshold is [float scalar] && !jump ? [.. Enumerable.Repeat(scalar, features)] : threshold,
            GateBias = weights.Optional("gate_bias", features),
            MagnitudeScale = weights.Optional("r_mag", features),
        });
    }

    private static ImmutableArray<int> Levels(StoredWeights weights)
    {
        int width = 0;
        return [.. weights.Integers("group_sizes").Select(size => width += (int)size)];
    }

    private static (int, int) Swap((int, int) pair) => (pair.Item2, pair.Item1);
}
