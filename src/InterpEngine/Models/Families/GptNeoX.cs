using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>GPT-NeoX and Pythia: partial rotary, parallel or sequential blocks with two norms, q, k and v fused head by head.</summary>
internal static class GptNeoX
{
    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        int headSize = ConfigReading.HeadSize(config, width, heads);
        int context = config.Int("max_position_embeddings");
        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = "gpt_neox",
            Layers = config.Int("num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = config.Int("intermediate_size"),
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Layer,
            Epsilon = (float)(config.OptionalDouble("layer_norm_eps") ?? 1e-5),
            Positions = new RotaryPositions(RotaryPairs.Halves, RotaryFrequencies.Read(config, headSize, 0.25, context)),
            AttentionScale = _ => scale,
            Activation = config.Activation("hidden_act", "gelu"),
            ParallelBlock = config.Bool("use_parallel_residual", true),
            TiedEmbedding = config.Bool("tie_word_embeddings", false),
            EndTokens = config.EndTokens(),
            Layout = Names(heads, headSize, config.Bool("attention_bias", true)),
        };
    }

    private static CheckpointLayout Names(int heads, int headSize, bool attentionBias)
    {
        FusedPart Part(int index) => new(heads, 3 * headSize, index * headSize, headSize);
        const string attention = "layers.{i}.attention.", mlp = "layers.{i}.mlp.";
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("embed_in.weight"),
            [Ln1Gain] = new("layers.{i}.input_layernorm.weight"),
            [Ln1Bias] = new("layers.{i}.input_layernorm.bias"),
            [QWeight] = new(attention + "query_key_value.weight", Part: Part(0)),
            [KWeight] = new(attention + "query_key_value.weight", Part: Part(1)),
            [VWeight] = new(attention + "query_key_value.weight", Part: Part(2)),
            [OWeight] = new(attention + "dense.weight"),
            [Ln2Gain] = new("layers.{i}.post_attention_layernorm.weight"),
            [Ln2Bias] = new("layers.{i}.post_attention_layernorm.bias"),
            [MlpInWeight] = new(mlp + "dense_h_to_4h.weight"),
            [MlpInBias] = new(mlp + "dense_h_to_4h.bias"),
            [MlpOutWeight] = new(mlp + "dense_4h_to_h.weight"),
            [MlpOutBias] = new(mlp + "dense_4h_to_h.bias"),
            [LnFinalGain] = new("final_layer_norm.weight"),
            [LnFinalBias] = new("final_layer_norm.bias"),
            [UnembedWeight] = new("embed_out.weight", Outside: true),
        };
        if (attentionBias)
        {
            names[QBias] = new(attention + "query_key_value.bias", Part: Part(0));
            names[KBias] = new(attention + "query_key_value.bias", Part: Part(1));
            names[VBias] = new(attention + "query_key_value.bias", Part: Part(2));
            names[OBias] = new(attention + "dense.bias");
        }

        return new CheckpointLayout
        {
            Parameters = names,
            Prefixes = ["gpt_neox.", ""],
            Ignored = [attention + "bias", attention + "masked_bias", attention + "rotary_emb.inv_freq"],
        };
    }
}
