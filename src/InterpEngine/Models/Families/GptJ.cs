using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>GPT-J: parallel blocks with one norm, interleaved partial rotary, a biased unembedding.</summary>
internal static class GptJ
{
    private const string Attention = "h.{i}.attn.", Mlp = "h.{i}.mlp.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("n_embd", "hidden_size"), heads = config.Int("n_head", "num_attention_heads");
        int headSize = ConfigReading.HeadSize(config, width, heads), rotated = config.Int("rotary_dim");
        if (rotated > headSize || rotated % 2 != 0)
        {
            throw config.Unexpected("rotary_dim", $"an even number of channels, at most the {headSize} of a head");
        }

        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = "gptj",
            Layers = config.Int("n_layer", "num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = config.OptionalInt("n_inner") ?? 4 * width,
            Vocabulary = config.Int("vocab_size"),
            Context = config.Int("n_positions", "max_position_embeddings"),
            Norm = NormKind.Layer,
            Epsilon = config.Float("layer_norm_epsilon", 1e-5),
            Positions = new RotaryPositions(RotaryPairs.Interleaved, new RotaryFrequencies { Channels = rotated }),
            AttentionScale = _ => scale,
            Activation = config.Activation("activation_function", "gelu_new"),
            ParallelBlock = true,
            SharedNorm = true,
            TiedEmbedding = config.Bool("tie_word_embeddings", false),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout
            {
                Parameters = Names(),
                Prefixes = ["transformer.", ""],
                Ignored = [Attention + "bias", Attention + "masked_bias"],
            },
        };
    }

    private static Dictionary<Parameter, ParameterSource> Names()
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("wte.weight"),
            [Ln1Gain] = new("h.{i}.ln_1.weight"),
            [QWeight] = new(Attention + "q_proj.weight"),
            [KWeight] = new(Attention + "k_proj.weight"),
            [VWeight] = new(Attention + "v_proj.weight"),
            [OWeight] = new(Attention + "out_proj.weight"),
            [MlpInWeight] = new(Mlp + "fc_in.weight"),
            [MlpOutWeight] = new(Mlp + "fc_out.weight"),
            [LnFinalGain] = new("ln_f.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        names.AddBiases(Ln1Bias, MlpInBias, MlpOutBias, LnFinalBias, UnembedBias);
        return names;
    }
}
