using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>
/// Falcon. The new decoder (40B, 180B, 11B) has grouped queries and parallel blocks with two norms, or one; the old one (7B, RW) one or
/// all key heads, parallel blocks with one norm or sequential ones, rotary or ALiBi.
/// </summary>
internal static class Falcon
{
    private const string Block = "h.{i}.", Attention = "h.{i}.self_attention.", Mlp = "h.{i}.mlp.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size", "n_embed"), heads = config.Int("num_attention_heads", "n_head");
        int headSize = ConfigReading.HeadSize(config, width, heads), context = config.OptionalInt("max_position_embeddings") ?? 2048;
        bool newDecoder = config.Bool("new_decoder_architecture", false), parallel = config.Bool("parallel_attn", true);
        bool oneKey = config.Bool("multi_query", true) && !newDecoder;
        int keyHeads = config.KeyValueHeads(heads, "num_kv_heads"), norms = config.OptionalInt("num_ln_in_parallel_attn") ?? (newDecoder ? 2 : 1);
        keyHeads = newDecoder ? keyHeads : oneKey ? 1 : heads;
        config.Expect("apply_residual_connection_post_layernorm", false);
        if (newDecoder)
        {
            config.Expect("parallel_attn", true);
        }

        if (norms > (newDecoder ? 2 : 1))
        {
            throw config.Unexpected("num_ln_in_parallel_attn", newDecoder ? "1 or 2" : "1, without the new decoder architecture");
        }

        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = "falcon",
            Layers = config.Int("num_hidden_layers", "n_layer"),
            Width = width,
            Heads = heads,
            KeyValueHeads = keyHeads,
            HeadSize = headSize,
            MlpWidth = config.OptionalInt("ffn_hidden_size") ?? 4 * width,
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Layer,
            Epsilon = config.Float("layer_norm_epsilon", 1e-5),
            Positions = config.Bool("alibi", false)
                ? AlibiOf(config, heads, scale)
                : new RotaryPositions(RotaryPairs.Halves, RotaryFrequencies.Read(config, headSize, 1, context)),
            AttentionScale = _ => scale,
            Activation = config.Activation("activation", "gelu"),
            ParallelBlock = parallel,
            SharedNorm = parallel && norms == 1,
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout
            {
                Parameters = Names(heads, keyHeads, headSize, parallel, norms, config.Bool("bias", false)),
                Prefixes = ["transformer.", ""],
                Ignored = [Attention + "rotary_emb.inv_freq", Attention + "maybe_rotary.inv_freq"],
            },
        };
    }

    /// <summary>Falcon adds the positions' bias before the scores are scaled, from slopes kept in BF16.</summary>
    private static AlibiPositions AlibiOf(ConfigFile config, int heads, float scale)
    {
        config.IgnoreRotary();
        return new AlibiPositions([.. Alibi.Slopes(heads).Select(slope => scale * Bf16(slope))]);
    }

    /// <summary>Rounded to the nearest BF16, ties to even.</summary>
    private static float Bf16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
    }

    private static Dictionary<Parameter, ParameterSource> Names(int heads, int keyHeads, int headSize, bool parallel, int norms, bool biased)
    {
        int queries = heads / keyHeads;
        string ln1 = norms == 2 ? "ln_attn" : "input_layernorm", ln2 = norms == 2 ? "ln_mlp" : "post_attention_layernorm";
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("word_embeddings.weight"),
            [Ln1Gain] = new(Block + ln1 + ".weight"),
            [QWeight] = Fused(0, queries),
            [KWeight] = Fused(queries, 1),
            [VWeight] = Fused(queries + 1, 1),
            [OWeight] = new(Attention + "dense.weight"),
            [MlpInWeight] = new(Mlp + "dense_h_to_4h.weight"),
            [MlpOutWeight] = new(Mlp + "dense_4h_to_h.weight"),
            [LnFinalGain] = new("ln_f.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        names.AddBiases(Ln1Bias, LnFinalBias);
        if (!parallel || norms == 2)
        {
            names[Ln2Gain] = new(Block + ln2 + ".weight");
            names.AddBiases(Ln2Bias);
        }

        if (biased)
        {
            names.AddBiases(QBias, KBias, VBias, OBias, MlpInBias, MlpOutBias);
        }

        return names;

        // Each key head's queries, then the key, then the value.
        ParameterSource Fused(int start, int count) => new(
            Attention + "query_key_value.weight",
            Part: new FusedPart(keyHeads, (queries + 2) * headSize, start * headSize, count * headSize));
    }
}
