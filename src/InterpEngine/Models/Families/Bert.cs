using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>BERT: an encoder with norms on the residual stream, token types and a masked-language-model head.</summary>
internal static class Bert
{
    private const string Layer = "encoder.layer.{i}.", Attention = Layer + "attention.", Head = "cls.predictions.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        int headSize = ConfigReading.HeadSize(config, width, heads);
        float scale = 1 / MathF.Sqrt(headSize);
        config.Expect("is_decoder", false);
        config.Expect("add_cross_attention", false);
        if (config.OptionalString("position_embedding_type") is not (null or "absolute"))
        {
            throw config.Unexpected("position_embedding_type", "'absolute'");
        }

        return new ModelDescription
        {
            Family = "bert",
            Layers = config.Int("num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = config.Int("intermediate_size"),
            Vocabulary = config.Int("vocab_size"),
            Context = config.Int("max_position_embeddings"),
            Norm = NormKind.Layer,
            Epsilon = config.Float("layer_norm_eps", 1e-12),
            Norms = NormPlacement.OnResidual,
            Positions = new LearnedPositions(),
            EmbeddingNorm = true,
            TokenTypes = config.OptionalInt("type_vocab_size") ?? 2,
            Causal = false,
            AttentionScale = _ => scale,
            Activation = config.Activation("hidden_act", "gelu"),
            HeadTransform = true,
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout
            {
                Parameters = Names(),
                Prefixes = ["bert.", ""],
                Ignored =
                [
                    "embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias", "cls.seq_relationship.weight",
                    "cls.seq_relationship.bias", Head + "decoder.bias",
                ],
                Renamed = [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
            },
        };
    }

    private static Dictionary<Parameter, ParameterSource> Names()
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("embeddings.word_embeddings.weight"),
            [PositionEmbedding] = new("embeddings.position_embeddings.weight"),
            [TokenTypeEmbedding] = new("embeddings.token_type_embeddings.weight"),
            [EmbeddingNormGain] = new("embeddings.LayerNorm.weight"),
            [QWeight] = new(Attention + "self.query.weight"),
            [KWeight] = new(Attention + "self.key.weight"),
            [VWeight] = new(Attention + "self.value.weight"),
            [OWeight] = new(Attention + "output.dense.weight"),
            [Ln1Gain] = new(Attention + "output.LayerNorm.weight"),
            [MlpInWeight] = new(Layer + "intermediate.dense.weight"),
            [MlpOutWeight] = new(Layer + "output.dense.weight"),
            [Ln2Gain] = new(Layer + "output.LayerNorm.weight"),
            [HeadWeight] = new(Head + "transform.dense.weight", Outside: true),
            [LnFinalGain] = new(Head + "transform.LayerNorm.weight", Outside: true),
            [UnembedWeight] = new(Head + "decoder.weight", Outside: true),
            [UnembedBias] = new(Head + "bias", Outside: true),
        };
        names.AddBiases(
            EmbeddingNormBias, QBias, KBias, VBias, OBias, Ln1Bias, MlpInBias, MlpOutBias, Ln2Bias, HeadBias, LnFinalBias);
        return names;
    }
}
