using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>
/// What most decoders since Llama share: settings of the same names, rotary positions, a gated MLP, norms before attention and MLP, and
/// checkpoints of the same names. A family takes this and says what differs.
/// </summary>
internal static class LlamaLike
{
    public const string Block = "layers.{i}.";
    public const string Attention = "layers.{i}.self_attn.";
    public const string Mlp = "layers.{i}.mlp.";

    /// <summary>The settings that all share, with Llama's defaults.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="family">The family's name.</param>
    /// <param name="names">Where its checkpoints keep the parameters.</param>
    /// <param name="defaults">What absent settings mean, where not as in Llama.</param>
    public static ModelDescription Read(
        ConfigFile config, string family, Dictionary<Parameter, ParameterSource> names, Defaults? defaults = null)
    {
        defaults ??= new Defaults();
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads"), context = config.Int("max_position_embeddings");
        int headSize = config.OptionalInt("head_dim") ?? defaults.HeadSize ?? ConfigReading.HeadSize(config, width, heads);
        float scale = 1 / MathF.Sqrt(headSize);
        return new ModelDescription
        {
            Family = family,
            Layers = config.Int("num_hidden_layers"),
            Width = width,
            Heads = heads,
            KeyValueHeads = config.KeyValueHeads(heads),
            HeadSize = headSize,
            MlpWidth = config.Int("intermediate_size"),
            Vocabulary = config.Int("vocab_size"),
            Context = context,
            Norm = defaults.Norm,
            Epsilon = config.Float(defaults.EpsilonKey, defaults.Epsilon),
            Positions = new RotaryPositions(
                defaults.Pairs, RotaryFrequencies.Read(config, headSize, defaults.Rotated, context, defaults.Theta)),
            AttentionScale = _ => scale,
            Activation = config.Activation("hidden_act", defaults.Activation),
            GatedMlp = true,
            TiedEmbedding = config.Bool("tie_word_embeddings", defaults.Tied),
            EndTokens = config.EndTokens(),
            Layout = Layout(names),
        };
    }

    /// <summary>Names without any biases; <paramref name="normBias"/> adds those of the norms.</summary>
    public static Dictionary<Parameter, ParameterSource> Names(bool normBias = false)
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("embed_tokens.weight"),
            [Ln1Gain] = new(Block + "input_layernorm.weight"),
            [QWeight] = new(Attention + "q_proj.weight"),
            [KWeight] = new(Attention + "k_proj.weight"),
            [VWeight] = new(Attention + "v_proj.weight"),
            [OWeight] = new(Attention + "o_proj.weight"),
            [Ln2Gain] = new(Block + "post_attention_layernorm.weight"),
            [MlpInWeight] = new(Mlp + "gate_proj.weight"),
            [MlpUpWeight] = new(Mlp + "up_proj.weight"),
            [MlpOutWeight] = new(Mlp + "down_proj.weight"),
            [LnFinalGain] = new("norm.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        if (normBias)
        {
            names.AddBiases(Ln1Bias, Ln2Bias, LnFinalBias);
        }

        return names;
    }

    /// <summary>Adds biases beside their weights, which the layout must have: the same names with <c>bias</c> for <c>weight</c>.</summary>
    public static void AddBiases(this Dictionary<Parameter, ParameterSource> names, params ReadOnlySpan<Parameter> biases)
    {
        foreach (Parameter bias in biases)
        {
            string gain = bias.ToString().Replace("Bias", "Gain", StringComparison.Ordinal);
            string weight = bias.ToString().Replace("Bias", "Weight", StringComparison.Ordinal);
            ParameterSource source = names[Enum.TryParse(gain, out Parameter norm) ? norm : Enum.Parse<Parameter>(weight)];
            names[bias] = source with { Name = source.Name[..^"weight".Length] + "bias", InputsFirst = false };
        }
    }

    /// <summary>Biases of q, k, v and o, or none of them.</summary>
    public static Dictionary<Parameter, ParameterSource> WithAttentionBias(this Dictionary<Parameter, ParameterSource> names, bool biased)
    {
        if (biased)
        {
            names.AddBiases(QBias, KBias, VBias, OBias);
        }

        return names;
    }

    /// <summary>Norms of queries and keys.</summary>
    public static void AddQueryKeyNorms(this Dictionary<Parameter, ParameterSource> names, string query = "q_norm", string key = "k_norm")
    {
        names[QNormGain] = new(Attention + query + ".weight");
        names[KNormGain] = new(Attention + key + ".weight");
    }

    /// <summary>A router and its experts, beside the dense MLP of blocks that have one.</summary>
    public static void AddExperts(this Dictionary<Parameter, ParameterSource> names)
    {
        names[RouterWeight] = new(Mlp + "gate.weight");
        names[ExpertInWeight] = new(Mlp + "experts.{e}.gate_proj.weight");
        names[ExpertUpWeight] = new(Mlp + "experts.{e}.up_proj.weight");
        names[ExpertOutWeight] = new(Mlp + "experts.{e}.down_proj.weight");
    }

    /// <summary>The layout of a checkpoint with these names.</summary>
    public static CheckpointLayout Layout(Dictionary<Parameter, ParameterSource> names) => new()
    {
        Parameters = names,
        Prefixes = ["model.", ""],
        Ignored = [Attention + "rotary_emb.inv_freq"],
    };

    /// <summary>What absent settings mean, and settings' names that differ.</summary>
    public sealed record Defaults
    {
        public NormKind Norm { get; init; } = NormKind.Rms;

        public string EpsilonKey { get; init; } = "rms_norm_eps";

        public double Epsilon { get; init; } = 1e-6;

        public RotaryPairs Pairs { get; init; } = RotaryPairs.Halves;

        public double Rotated { get; init; } = 1;

        public double Theta { get; init; } = 10000;

        public int? HeadSize { get; init; }

        public string Activation { get; init; } = "silu";

        public bool Tied { get; init; }
    }
}
