using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>Llama 1 to 3: RMS norm, rotary with scalings, grouped queries, SwiGLU.</summary>
internal static class Llama
{
    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        int headSize = config.OptionalInt("head_dim") ?? ConfigReading.HeadSize(config, width, heads);
        int keyValueHeads = config.OptionalInt("num_key_value_heads") ?? heads;
        if (heads % keyValueHeads != 0)
        {
            throw config.Unexpected("num_key_value_heads", $"a divisor of the {heads} attention heads");
        }

        int context = config.Int("max_position_embeddings");
        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = "llama",
            Layers = config.Int("num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = headSize,
            MlpWidth = config.Int("intermediate_size"),
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Rms,
            Epsilon = (float)(config.OptionalDouble("rms_norm_eps") ?? 1e-6),
            Positions = new RotaryPositions(RotaryPairs.Halves, RotaryFrequencies.Read(config, headSize, 1, context)),
            AttentionScale = _ => scale,
            Activation = config.Activation("hidden_act", "silu"),
            GatedMlp = true,
            TiedEmbedding = config.Bool("tie_word_embeddings", false),
            EndTokens = config.EndTokens(),
            Layout = Names(config.Bool("attention_bias", false), config.Bool("mlp_bias", false)),
        };
    }

    private static CheckpointLayout Names(bool attentionBias, bool mlpBias)
    {
        const string attention = "layers.{i}.self_attn.", mlp = "layers.{i}.mlp.";
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("embed_tokens.weight"),
            [Ln1Gain] = new("layers.{i}.input_layernorm.weight"),
            [QWeight] = new(attention + "q_proj.weight"),
            [KWeight] = new(attention + "k_proj.weight"),
            [VWeight] = new(attention + "v_proj.weight"),
            [OWeight] = new(attention + "o_proj.weight"),
            [Ln2Gain] = new("layers.{i}.post_attention_layernorm.weight"),
            [MlpInWeight] = new(mlp + "gate_proj.weight"),
            [MlpUpWeight] = new(mlp + "up_proj.weight"),
            [MlpOutWeight] = new(mlp + "down_proj.weight"),
            [LnFinalGain] = new("norm.weight"),
            [UnembedWeight] = new("lm_head.weight"),
        };
        if (attentionBias)
        {
            names[QBias] = new(attention + "q_proj.bias");
            names[KBias] = new(attention + "k_proj.bias");
            names[VBias] = new(attention + "v_proj.bias");
            names[OBias] = new(attention + "o_proj.bias");
        }

        if (mlpBias)
        {
            names[MlpInBias] = new(mlp + "gate_proj.bias");
            names[MlpUpBias] = new(mlp + "up_proj.bias");
            names[MlpOutBias] = new(mlp + "down_proj.bias");
        }

        return new CheckpointLayout
        {
            Parameters = names,
            Prefixes = ["model.", ""],
            Ignored = [attention + "rotary_emb.inv_freq"],
        };
    }
}
