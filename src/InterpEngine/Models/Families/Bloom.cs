using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>BLOOM: ALiBi, a norm on the embedding, q, k and v fused head by head.</summary>
internal static class Bloom
{
    private const string Block = "h.{i}.", Attention = "h.{i}.self_attention.", Mlp = "h.{i}.mlp.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size", "n_embed"), heads = config.Int("n_head", "num_attention_heads");
        int headSize = ConfigReading.HeadSize(config, width, heads);
        config.Expect("apply_residual_connection_post_layernorm", false);
        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = "bloom",
            Layers = config.Int("n_layer", "num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = 4 * width,
            Vocabulary = config.Int("vocab_size"),
            Context = config.OptionalInt("seq_length") ?? 2048,
            Norm = NormKind.Layer,
            Epsilon = config.Float("layer_norm_epsilon", 1e-5),
            EmbeddingNorm = true,
            Positions = new AlibiPositions(Alibi.Slopes(heads)),
            AttentionScale = _ => scale,
            Activation = Activation.GeluTanh,
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout { Parameters = Names(heads, headSize), Prefixes = ["transformer.", ""] },
        };
    }

    private static Dictionary<Parameter, ParameterSource> Names(int heads, int headSize)
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("word_embeddings.weight"),
            [EmbeddingNormGain] = new("word_embeddings_layernorm.weight"),
            [Ln1Gain] = new(Block + "input_layernorm.weight"),
            [QWeight] = Fused(0),
            [KWeight] = Fused(1),
            [VWeight] = Fused(2),
            [OWeight] = new(Attention + "dense.weight"),
            [Ln2Gain] = new(Block + "post_attention_layernorm.weight"),
            [MlpInWeight] = new(Mlp + "dense_h_to_4h.weight"),
            [MlpOutWeight] = new(Mlp + "dense_4h_to_h.weight"),
            [LnFinalGain] = new("ln_f.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        names.AddBiases(EmbeddingNormBias, Ln1Bias, QBias, KBias, VBias, OBias, Ln2Bias, MlpInBias, MlpOutBias, LnFinalBias);
        return names;

        ParameterSource Fused(int index) =>
            new(Attention + "query_key_value.weight", Part: new FusedPart(heads, 3 * headSize, index * headSize, headSize));
    }
}
