using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models.Families;

/// <summary>GPT-Neo: learned positions, unscaled scores, blocks with and without a window by turns.</summary>
internal static class GptNeo
{
    private const string Attention = "h.{i}.attn.attention.", Mlp = "h.{i}.mlp.";

    public static ModelDescription Read(ConfigFile config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_heads", "num_attention_heads");
        int layers = config.Int("num_layers", "num_hidden_layers");
        bool[] local = LocalLayers(config, layers);
        int window = config.OptionalInt("window_size") ?? 256;
        return new ModelDescription
        {
            Family = "gpt_neo",
            Layers = layers,
            Width = width,
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = ConfigReading.HeadSize(config, width, heads),
            MlpWidth = config.OptionalInt("intermediate_size") ?? 4 * width,
            Vocabulary = config.Int("vocab_size"),
            Context = config.Int("max_position_embeddings"),
            Norm = NormKind.Layer,
            Epsilon = config.Float("layer_norm_epsilon", 1e-5),
            Positions = new LearnedPositions(),
            AttentionScale = _ => 1,
            Window = layer => local[layer] ? window : 0,
            Activation = config.Activation("activation_function", "gelu_new"),
            TiedEmbedding = config.Bool("tie_word_embeddings", true),
            EndTokens = config.EndTokens(),
            Layout = new CheckpointLayout
            {
                Parameters = Names(),
                Prefixes = ["transformer.", ""],
                Ignored = [Attention + "bias", Attention + "masked_bias"],
            },
        };
    }

    /// <summary><c>attention_layers</c>, or <c>attention_types</c>: pairs of a pattern and how often it is repeated.</summary>
    private static bool[] LocalLayers(ConfigFile config, int layers)
    {
        string[] types = config.Has("attention_layers") ? [.. config.Strings("attention_layers")] : [];
        if (config.Has("attention_types"))
        {
            string[] patterns = Patterns(config.Element("attention_types"), layers);
            types = types.Length == 0 ? patterns : types;
        }

        bool known = types.Length == layers && types.All(type => type is "global" or "local");
        return known
            ? [.. types.Select(type => type == "local")]
            : throw config.Unexpected(
                config.Has("attention_layers") ? "attention_layers" : "attention_types",
                $"'global' or 'local' for each of the {layers} blocks");
    }

    /// <summary>[[["global", "local"], 12]] written out; nothing where it is something else.</summary>
    private static string[] Patterns(JsonElement value, int layers)
    {
        var types = new List<string>();
        foreach (JsonElement pair in value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : default)
        {
            bool valid = pair.ValueKind == JsonValueKind.Array && pair.GetArrayLength() == 2 && pair[0].ValueKind == JsonValueKind.Array
                && pair[0].EnumerateArray().All(type => type.ValueKind == JsonValueKind.String)
                && pair[1].ValueKind == JsonValueKind.Number && pair[1].TryGetInt32(out int times) && times >= 0 && times <= layers;
            if (!valid)
            {
                return [];
            }

            string[] pattern = [.. pair[0].EnumerateArray().Select(type => type.GetString()!)];
            types.AddRange(Enumerable.Repeat(pattern, pair[1].GetInt32()).SelectMany(one => one));
        }

        return [.. types];
    }

    private static Dictionary<Parameter, ParameterSource> Names()
    {
        var names = new Dictionary<Parameter, ParameterSource>
        {
            [TokenEmbedding] = new("wte.weight"),
            [PositionEmbedding] = new("wpe.weight"),
            [Ln1Gain] = new("h.{i}.ln_1.weight"),
            [QWeight] = new(Attention + "q_proj.weight"),
            [KWeight] = new(Attention + "k_proj.weight"),
            [VWeight] = new(Attention + "v_proj.weight"),
            [OWeight] = new(Attention + "out_proj.weight"),
            [Ln2Gain] = new("h.{i}.ln_2.weight"),
            [MlpInWeight] = new(Mlp + "c_fc.weight"),
            [MlpOutWeight] = new(Mlp + "c_proj.weight"),
            [LnFinalGain] = new("ln_f.weight"),
            [UnembedWeight] = new("lm_head.weight", Outside: true),
        };
        names.AddBiases(Ln1Bias, OBias, Ln2Bias, MlpInBias, MlpOutBias, LnFinalBias);
        return names;
    }
}
