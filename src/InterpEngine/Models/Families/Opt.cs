using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>OPT: learned positions behind two reserved rows, ReLU; in one size norms on the residual stream and a narrow embedding.</summary>
internal static class Opt
{
    private const string Block = "layers.{i}.", Attention = "layers.{i}.self_attn.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        int headSize = ConfigReading.HeadSize(config, width, heads), context = config.Int("max_position_embeddings");
        int embeddingWidth = config.OptionalInt("word_embed_proj_dim") ?? width;
        bool before = config.Bool("do_layer_norm_before", true), finalNorm = before && !config.Bool("_remove_final_layer_norm", false);
        float scale = 1 / MathF.Sqrt(headSize);
        Dictionary<Parameter, ParameterSource> names = Names(context, narrow: embeddingWidth != width, finalNorm);
        if (config.Bool("layer_norm_elementwise_affine", true))
        {
            names.AddBiases(finalNorm ? [Ln1Bias, Ln2Bias, LnFinalBias] : [Ln1Bias, Ln2Bias]);
        }
        else
        {
            ((Parameter[])[Ln1Gain, Ln2Gain, LnFinalGain]).ToList().ForEach(gain => names.Remove(gain));
        }

        if (config.Bool("enable_bias", true))
        {
            names.AddBiases(QBias, KBias, VBias, OBias, MlpInBias, MlpOutBias);
        }

        return new ModelDescription
        {
            Family = "opt",
            Layers = config.Int("num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = config.Int("ffn_dim"),
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Layer,
            Epsilon = 1e-5f,
            Norms = before ? NormPlacement.Before : NormPlacement.OnResidual,
            FinalNorm = finalNorm,
            Positions = new LearnedPositions(),
            EmbeddingWidth = embeddingWidth,
            AttentionScale = _ => scale,
            Activation = config.Activation("activation_function", "relu"),
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout { Parameters = names, Prefixes = ["model.decoder.", "decoder.", ""] },
        };
    }

    private static Dictionary<Parameter, ParameterSource> Names(int context, bool narrow, bool finalNorm)
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("embed_tokens.weight"),
            [PositionEmbedding] = new("embed_positions.weight", Part: new FusedPart(1, context + 2, 2, context)),
            [Ln1Gain] = new(Block + "self_attn_layer_norm.weight"),
            [QWeight] = new(Attention + "q_proj.weight"),
            [KWeight] = new(Attention + "k_proj.weight"),
            [VWeight] = new(Attention + "v_proj.weight"),
            [OWeight] = new(Attention + "out_proj.weight"),
            [Ln2Gain] = new(Block + "final_layer_norm.weight"),
            [MlpInWeight] = new(Block + "fc1.weight"),
            [MlpOutWeight] = new(Block + "fc2.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        if (finalNorm)
        {
            names[LnFinalGain] = new("final_layer_norm.weight");
        }

        if (narrow)
        {
            names[EmbeddingProjection] = new("project_in.weight");
            names[UnembeddingProjection] = new("project_out.weight");
        }

        return names;
    }
}
