using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>The published suites: Gemma Scope, Gemma Scope 2 and Llama Scope. None centres its input.</summary>
internal static class ScopeFormats
{
    /// <summary>Gemma Scope's <c>params.npz</c>. Whether it is a transcoder's, the file does not say: input and output are as wide.</summary>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) ReadGemma(string path)
    {
        using StoredWeights weights = StoredWeights.Open(path);
        (int d, int features) = weights.MatrixShape("W_enc");
        (_, int output) = weights.MatrixShape("W_dec");
        return (JumpRelu(d, output, features), new DictionaryParameters
        {
            Encoder = weights.ReadTransposed("W_enc", features, d),
            EncoderBias = weights.Read("b_enc", features),
            Decoder = weights.Read("W_dec", features, output),
            DecoderBias = weights.Read("b_dec", output),
            Threshold = weights.Read("threshold", features),
        });
    }

    /// <summary>Gemma Scope 2's <c>config.json</c> and <c>params.safetensors</c>.</summary>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) ReadGemma2(string folder)
    {
        ConfigFile config = ConfigFile.Load(Path.Combine(folder, "config.json"));
        if (config.String("architecture") != "jump_relu")
        {
            throw config.Unexpected("architecture", "'jump_relu'");
        }

        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, "params.safetensors"));
        (int d, int features) = weights.MatrixShape("w_enc");
        int[] shape = weights.Shape("w_dec");
        int output = shape[^1];
        bool crossLayer = shape.Length == 3;
        string? read = config.OptionalString("hf_hook_point_in"), write = config.OptionalString("hf_hook_point_out");
        float[] bias = crossLayer ? Sum(weights.Read("b_dec", weights.Shape("b_dec")), 1, output) : weights.Read("b_dec", output);
        float[]? skip = weights.Has("affine_skip_connection") ? weights.ReadTransposed("affine_skip_connection", output, d) : null;
        return (JumpRelu(d, output, features) with
        {
            IsTranscoder = skip is not null || crossLayer || d != output || (write is not null && write != read),
            ModelName = config.OptionalString("model_name"),
        }, new DictionaryParameters
        {
            Encoder = weights.ReadTransposed("w_enc", features, d),
            EncoderBias = weights.Read("b_enc", features),
            Decoder = crossLayer ? Sum(weights.Read("w_dec", shape), features, output) : weights.Read("w_dec", features, output),
            DecoderBias = bias,
            Threshold = weights.Read("threshold", features),
            Skip = skip,
        });
    }

    /// <summary>
    /// Llama Scope's <c>hyperparams.json</c> and <c>checkpoints/final.safetensors</c>, the input's scale folded into the weights.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="native">True for the authors' own gate, which compares h times the decoder's norm; SAELens compares h.</param>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) ReadLlama(string folder, bool native = false)
    {
        ConfigFile config = ConfigFile.Load(Path.Combine(folder, "hyperparams.json"));
        if (config.OptionalString("act_fn") is not ("jumprelu" or null))
        {
            throw config.Unexpected("act_fn", "'jumprelu'");
        }

        using StoredWeights weights = StoredWeights.Open(Path.Combine(folder, "checkpoints", "final.safetensors"));
        int d = config.Int("d_model"), features = config.Int("d_sae");
        ConfigFile norms = config.Object("dataset_average_activation_norm");
        float inScale = (float)(Math.Sqrt(d) / Positive(norms, "in")), outScale = (float)(Math.Sqrt(d) / Positive(norms, "out"));
        float threshold = (float)config.Double("jump_relu_threshold");
        float[] encoder = weights.Read("encoder.weight", features, d), decoder = weights.ReadTransposed("decoder.weight", features, d);
        float[] encoderBias = weights.Read("encoder.bias", features);
        float[] bias = config.Bool("use_decoder_bias", true) ? weights.Read("decoder.bias", d) : new float[d];
        DictionaryConfig result = JumpRelu(d, d, features) with
        {
            HookName = config.OptionalString("hook_point_in"),
            HookNameOut = config.OptionalString("hook_point_out"),
            ScalesScores = native && config.Bool("sparsity_include_decoder_norm", true),
        };
        return (result, native
            ? new DictionaryParameters
            {
                Encoder = encoder,
                EncoderBias = Scale(encoderBias, 1 / inScale),
                Decoder = Scale(decoder, inScale / outScale),
                DecoderBias = Scale(bias, 1 / outScale),
                Threshold = [.. Enumerable.Repeat(threshold, features)],
                ScoreScale = DictionaryParameters.RowNorms(decoder, features),
            }
            : new DictionaryParameters
            {
                Encoder = Scale(encoder, inScale),
                EncoderBias = encoderBias,
                Decoder = Scale(decoder, 1 / inScale),
                DecoderBias = Scale(bias, 1 / inScale),
                Threshold = [.. Enumerable.Repeat(threshold * inScale, features)],
            });
    }

    private static DictionaryConfig JumpRelu(int d, int output, int features) => new()
    {
        InputWidth = d,
        OutputWidth = output,
        Features = features,
        Rule = ActivationRule.JumpRelu,
        IsTranscoder = d != output,
    };

    /// <summary>[rows, n, columns] added up over n.</summary>
    private static float[] Sum(float[] values, int rows, int columns)
    {
        var sums = new float[(long)rows * columns];
        int n = rows * columns == 0 ? 0 : values.Length / (rows * columns);
        for (int i = 0; i < values.Length; i++)
        {
            sums[(long)i / columns / n * columns + i % columns] += values[i];
        }

        return sums;
    }

    private static float[] Scale(float[] values, float factor) => Array.ConvertAll(values, value => value * factor);

    private static double Positive(ConfigFile config, string key) =>
        config.Double(key) is > 0 and double value ? value : throw config.Unexpected(key, "a positive number");
}
