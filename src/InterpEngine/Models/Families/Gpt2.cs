using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>GPT-2: learned positions, layer norm, fused q, k, v in Conv1D layout, tied embedding.</summary>
internal static class Gpt2
{
    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("n_embd"), heads = config.Int("n_head"), layers = config.Int("n_layer");
        int headSize = ConfigReading.HeadSize(config, width, heads);
        config.Expect("add_cross_attention", false);
        config.Expect("is_encoder_decoder", false);
        bool scaled = config.Bool("scale_attn_weights", true), byLayer = config.Bool("scale_attn_by_inverse_layer_idx", false);
        float scale = scaled ? 1 / MathF.Sqrt(headSize) : 1;
        int context = config.OptionalInt("n_positions") ?? config.Int("n_ctx");
        return new ModelDescription
        {
            Family = "gpt2",
            Layers = layers,
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            MlpWidth = config.OptionalInt("n_inner") ?? 4 * width,
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = NormKind.Layer,
            Epsilon = (float)(config.OptionalDouble("layer_norm_epsilon") ?? 1e-5),
            Positions = new LearnedPositions(),
            AttentionScale = layer => byLayer ? scale / (layer + 1) : scale,
            Activation = config.Activation("activation_function", "gelu_new"),
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = Names(width),
        };
    }

    private static CheckpointLayout Names(int width)
    {
        FusedPart Part(int index) => new(Groups: 1, GroupSize: 3 * width, Start: index * width, Size: width);
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("wte.weight"),
            [PositionEmbedding] = new("wpe.weight"),
            [Ln1Gain] = new("h.{i}.ln_1.weight"),
            [Ln1Bias] = new("h.{i}.ln_1.bias"),
            [QWeight] = new("h.{i}.attn.c_attn.weight", InputsFirst: true, Part(0)),
            [KWeight] = new("h.{i}.attn.c_attn.weight", InputsFirst: true, Part(1)),
            [VWeight] = new("h.{i}.attn.c_attn.weight", InputsFirst: true, Part(2)),
            [QBias] = new("h.{i}.attn.c_attn.bias", Part: Part(0)),
            [KBias] = new("h.{i}.attn.c_attn.bias", Part: Part(1)),
            [VBias] = new("h.{i}.attn.c_attn.bias", Part: Part(2)),
            [OWeight] = new("h.{i}.attn.c_proj.weight", InputsFirst: true),
            [OBias] = new("h.{i}.attn.c_proj.bias"),
            [Ln2Gain] = new("h.{i}.ln_2.weight"),
            [Ln2Bias] = new("h.{i}.ln_2.bias"),
            [MlpInWeight] = new("h.{i}.mlp.c_fc.weight", InputsFirst: true),
            [MlpInBias] = new("h.{i}.mlp.c_fc.bias"),
            [MlpOutWeight] = new("h.{i}.mlp.c_proj.weight", InputsFirst: true),
            [MlpOutBias] = new("h.{i}.mlp.c_proj.bias"),
            [LnFinalGain] = new("ln_f.weight"),
            [LnFinalBias] = new("ln_f.bias"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        return new CheckpointLayout
        {
            Parameters = names,
            Prefixes = ["transformer.", ""],
            Ignored = ["h.{i}.attn.bias", "h.{i}.attn.masked_bias"],
        };
    }
}
