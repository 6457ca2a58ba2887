using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Models.Families;

/// <summary>Reading that families share.</summary>
internal static class ConfigReading
{
    /// <summary>Settings that do not change what a model computes in inference.</summary>
    private static readonly HashSet<string> Harmless =
    [
        "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "initializer_range", "pretraining_tp",
        "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "decoder_start_token_id", "task_specific_params",
        "id2label", "label2id", "num_labels", "problem_type", "return_dict", "output_attentions", "output_hidden_states", "torchscript",
        "is_decoder", "gradient_checkpointing", "reorder_and_upcast_attn", "auto_map", "finetuning_task", "tokenizer_class", "prefix",
        "chunk_size_feed_forward", "use_bfloat16", "n_ctx", "classifier_dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop",
        "attention_dropout", "hidden_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob", "model_max_length",
        "max_sequence_length", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
        "summary_first_dropout", "summary_hidden_size", "resid_dropout", "embedding_dropout", "use_flash_attention_2",
        "original_max_position_embeddings", "activation_dropout", "dropout", "embed_dropout", "residual_dropout", "layerdrop", "init_std",
        "attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "skip_bias_add", "skip_bias_add_qkv",
        "slow_but_exact", "offset_alibi", "cache_implementation", "initial_context_length", "router_aux_loss_coef",
        "router_jitter_noise", "output_router_logits", "aux_loss_alpha", "seq_aux", "ep_size", "num_nextn_predict_layers",
    ];

    /// <summary>Width over heads.</summary>
    public static int HeadSize(ConfigFile config, int width, int heads) =>
        width % heads == 0
            ? width / heads
            : throw new ModelException($"{config.Path}: a width of {width} cannot be divided among {heads} heads.");

    /// <summary>One setting under the names that it goes by, the first that is there.</summary>
    public static int Int(this ConfigFile config, params ReadOnlySpan<string> names)
    {
        int? found = null;
        foreach (string name in names)
        {
            int? value = config.OptionalInt(name);
            found ??= value;
        }

        return found ?? config.Int(names[0]);
    }

    /// <summary>A number, or what its absence means.</summary>
    public static float Float(this ConfigFile config, string key, double ifAbsent) => (float)(config.OptionalDouble(key) ?? ifAbsent);

    /// <summary>Settings of rotary positions in a model that has none.</summary>
    public static void IgnoreRotary(this ConfigFile config)
    {
        foreach (string key in (ReadOnlySpan<string>)["rope_theta", "rope_scaling", "rope_parameters"])
        {
            _ = config.Has(key) ? config.Element(key) : default;
        }
    }

    /// <summary>Key and value heads.</summary>
    public static int KeyValueHeads(this ConfigFile config, int heads, string key = "num_key_value_heads")
    {
        int groups = config.OptionalInt(key) ?? heads;
        return heads % groups == 0 ? groups : throw config.Unexpected(key, $"a divisor of the {heads} attention heads");
    }

    /// <summary>
    /// The window of each block, 0 for none: from <c>layer_types</c> where it is there, else as the family has it.
    /// </summary>
    /// <param name="config">The settings.</param>
    /// <param name="layers">Blocks.</param>
    /// <param name="window">The size of the windows; 0 for none.</param>
    /// <param name="ifAbsent">Which blocks have a window where the settings do not list them.</param>
    public static Func<int, int> Windows(this ConfigFile config, int layers, int window, Func<int, bool> ifAbsent)
    {
        bool[] local = [.. Enumerable.Range(0, layers).Select(ifAbsent)];
        if (config.Has("layer_types"))
        {
            IReadOnlyList<string> types = config.Strings("layer_types");
            if (types.Count != layers || types.Any(type => type is not ("full_attention" or "sliding_attention")))
            {
                throw config.Unexpected("layer_types", $"'full_attention' or 'sliding_attention' for each of the {layers} blocks");
            }

            local = [.. types.Select(type => type == "sliding_attention")];
        }

        return local.Contains(true) && window == 0
            ? throw config.Unexpected("sliding_window", "the window of the blocks with sliding attention")
            : layer => local[layer] ? window : 0;
    }

    /// <summary>A setting that the engine supports in one position only.</summary>
    public static void Expect(this ConfigFile config, string key, bool value)
    {
        if (config.Bool(key, value) != value)
        {
            throw new ModelException($"{config.Path}: '{key}' is {(value ? "false" : "true")}, which the engine does not support.");
        }
    }

    /// <summary>An activation by Transformers' name for it.</summary>
    public static Activation Activation(this ConfigFile config, string key, string ifAbsent) => (config.OptionalString(key) ?? ifAbsent) switch
    {
        "linear" => Kernels.Activation.None,
        "relu" => Kernels.Activation.Relu,
        "relu2" => Kernels.Activation.ReluSquared,
        "gelu" or "gelu_python" => Kernels.Activation.Gelu,
        "gelu_new" or "gelu_fast" or "gelu_pytorch_tanh" or "gelu_accurate" or "gelu_python_tanh" => Kernels.Activation.GeluTanh,
        "quick_gelu" => Kernels.Activation.QuickGelu,
        "silu" or "swish" => Kernels.Activation.Silu,
        "tanh" => Kernels.Activation.Tanh,
        "sigmoid" => Kernels.Activation.Sigmoid,
        _ => throw config.Unexpected(key, "linear, relu, relu2, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, silu, tanh or sigmoid"),
    };

    /// <summary><c>eos_token_id</c>: absent, one token or several.</summary>
    public static IReadOnlyList<int> EndTokens(this ConfigFile config) =>
        !config.Has("eos_token_id") ? []
        : config.Element("eos_token_id").ValueKind == JsonValueKind.Array ? config.Ints("eos_token_id")
        : [config.Int("eos_token_id", minimum: 0)];

    /// <summary>Refuses settings that nobody read: the engine does not know what they do.</summary>
    public static void RefuseUnread(ConfigFile config)
    {
        foreach (string key in config.UnreadKeys())
        {
            if (!Harmless.Contains(key) && !key.StartsWith('_') && !Idle(config, key))
            {
                throw new ModelException(
                    $"{config.Path}: the engine does not know the setting '{key}', which may change what the model computes.",
                    "If it does not, remove it from config.json.");
            }
        }
    }

    /// <summary>False and empty values switch nothing on.</summary>
    private static bool Idle(ConfigFile config, string key)
    {
        if (!config.Has(key))
        {
            return false;
        }

        JsonElement value = config.Element(key);
        return value.ValueKind switch
        {
            JsonValueKind.False => true,
            JsonValueKind.Object => !value.EnumerateObject().Any(),
            JsonValueKind.Array => value.GetArrayLength() == 0,
            JsonValueKind.String => value.ValueEquals(""),
            _ => false,
        };
    }
}
