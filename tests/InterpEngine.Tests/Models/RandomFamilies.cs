using InterpEngine.Models;

namespace InterpEngine.Tests.Models;

/// <summary>Settings of a small random model of every family, as its config.json would say them.</summary>
internal static class RandomFamilies
{
    /// <summary>One of each, GPT-2 first, with sizes that are no multiples of anything.</summary>
    public static IReadOnlyDictionary<string, object>[] All(int seed)
    {
        var random = new Random(seed);
        return [.. ModelFamilies.Names.OrderByDescending(name => name == "gpt2").Select(name => Of(name, random))];
    }

    /// <summary>One family's.</summary>
    public static IReadOnlyDictionary<string, object> Of(string family, Random random)
    {
        int heads = random.Next(1, 6), groups = random.Next(1, 4), layers = random.Next(1, 4), size = 2 * random.Next(1, 11);
        int mlp = random.Next(1, 90), vocabulary = random.Next(2, 120), window = random.Next(1, 12);
        bool Flip() => random.Next(2) == 0;
        var common = new Dictionary<string, object> { ["model_type"] = family, ["vocab_size"] = vocabulary };
        Dictionary<string, object> With(params (string Key, object Value)[] settings)
        {
            var all = new Dictionary<string, object>(common);
            foreach ((string key, object value) in settings)
            {
                all[key] = value;
            }

            return all;
        }

        // Heads of any size where the width need not be theirs together; else only as many channels as the heads have.
        Dictionary<string, object> Llama(bool free = true, params (string Key, object Value)[] settings)
        {
            (string, object)[] shape =
            [
                ("hidden_size", free ? random.Next(1, 70) : heads * groups * size), ("num_attention_heads", heads * groups),
                ("num_key_value_heads", groups), ("num_hidden_layers", layers), ("intermediate_size", mlp),
                ("max_position_embeddings", 64), ("tie_word_embeddings", Flip()),
            ];
            return With([.. shape, .. free ? [("head_dim", (object)size)] : Array.Empty<(string, object)>(), .. settings]);
        }

        (string, object) attentionBias = ("attention_bias", Flip());
        (string, object)[] experts =
        [
            ("num_experts", 4), ("num_experts_per_tok", random.Next(1, 4)), ("moe_intermediate_size", random.Next(1, 30)),
            ("norm_topk_prob", Flip()),
        ];
        string[] layerTypes = [.. Enumerable.Range(0, layers).Select(_ => Flip() ? "sliding_attention" : "full_attention")];
        return family switch
        {
            "bert" => With(("hidden_size", heads * size), ("num_attention_heads", heads), ("num_hidden_layers", layers),
                ("intermediate_size", mlp), ("max_position_embeddings", 64), ("type_vocab_size", random.Next(1, 4))),
            "bloom" => With(("hidden_size", heads * size), ("n_head", heads), ("n_layer", layers)),
            "cohere" => Llama(true, attentionBias, ("use_qk_norm", Flip()), ("logit_scale", 0.3)),
            "deepseek_v3" => With(("hidden_size", random.Next(1, 70)), ("num_attention_heads", heads), ("num_hidden_layers", layers),
                ("intermediate_size", mlp), ("max_position_embeddings", 64), ("qk_nope_head_dim", random.Next(1, 12)),
                ("qk_rope_head_dim", size), ("v_head_dim", random.Next(1, 20)), ("kv_lora_rank", random.Next(1, 30)),
                Flip() ? ("q_lora_rank", random.Next(1, 30)) : ("q_lora_rank", null!), ("n_routed_experts", 8), ("n_group", 4),
                ("topk_group", 2), ("num_experts_per_tok", random.Next(1, 5)), ("moe_intermediate_size", random.Next(1, 30)),
                ("n_shared_experts", random.Next(1, 3)), ("first_k_dense_replace", 1), ("norm_topk_prob", Flip()),
                ("rope_interleave", Flip()), attentionBias),
            "falcon" => Falcon(),
            "gemma" => Llama(true, attentionBias),
            "gemma2" => Llama(true, attentionBias, ("sliding_window", window), ("query_pre_attn_scalar", random.Next(1, 30)),
                ("attn_logit_softcapping", 3), ("final_logit_softcapping", 5), ("layer_types", layerTypes)),
            "gemma3_text" => Llama(true, ("sliding_window", window), ("rope_local_base_freq", 100), ("layer_types", layerTypes)),
            "gpt2" => With(("n_embd", heads * size), ("n_head", heads), ("n_layer", layers), ("n_inner", mlp), ("n_positions", 64),
                ("scale_attn_by_inverse_layer_idx", Flip())),
            "gpt_neo" => With(("hidden_size", heads * size), ("num_heads", heads), ("num_layers", layers), ("intermediate_size", mlp),
                ("max_position_embeddings", 64), ("window_size", window),
                ("attention_layers", layerTypes.Select(type => type[0] == 's' ? "local" : "global"))),
            "gpt_neox" => With(("hidden_size", heads * size), ("num_attention_heads", heads), ("num_hidden_layers", layers),
                ("intermediate_size", mlp), ("max_position_embeddings", 64), ("rotary_pct", 1), ("use_parallel_residual", Flip()),
                attentionBias),
            "gpt_oss" => Llama(true, ("sliding_window", window), ("layer_types", layerTypes), ("num_local_experts", 4),
                ("num_experts_per_tok", random.Next(1, 4)), ("swiglu_limit", 1.5), attentionBias),
            "gptj" => With(("n_embd", heads * size), ("n_head", heads), ("n_layer", layers), ("n_inner", mlp), ("n_positions", 64),
                ("rotary_dim", 2 * random.Next(1, size / 2 + 1)), ("tie_word_embeddings", Flip())),
            "granite" => Llama(true, attentionBias, ("mlp_bias", Flip()), ("embedding_multiplier", 3), ("attention_multiplier", 0.3),
                ("residual_multiplier", 0.6), ("logits_scaling", 2.5)),
            "llama" => Llama(true, attentionBias, ("mlp_bias", Flip())),
            "mistral" => Llama(true, ("sliding_window", window)),
            "mixtral" => Llama(true, ("num_local_experts", 4), ("num_experts_per_tok", random.Next(1, 5)), ("sliding_window", window)),
            "olmo" => Llama(true, attentionBias, ("clip_qkv", 0.8)),
            "olmo2" => Llama(true, attentionBias),
            "olmoe" => Llama(true, [attentionBias, ("clip_qkv", 0.8), .. experts.Where(pair => pair.Item1 != "moe_intermediate_size")]),
            "opt" => Opt(),
            "phi" => Llama(true, ("qk_layernorm", Flip()), ("partial_rotary_factor", 1)),
            "phi3" => Llama(true, ("sliding_window", window)),
            "qwen2" => Llama(true, ("use_sliding_window", true), ("sliding_window", window), ("max_window_layers", 1)),
            "qwen2_moe" => Llama(true, [("shared_expert_intermediate_size", random.Next(1, 40)), ("qkv_bias", Flip()),
                ("decoder_sparse_step", 2), .. experts]),
            "qwen3" => Llama(true, attentionBias),
            "qwen3_moe" => Llama(true, [attentionBias, ("mlp_only_layers", new[] { 1 }), .. experts]),
            "stablelm" => Llama(false, ("use_qkv_bias", Flip()), ("qk_layernorm", Flip()), ("use_parallel_residual", Flip()),
                ("partial_rotary_factor", 1)),
            "starcoder2" => Llama(true, ("use_bias", Flip())),
            _ => throw new ArgumentException($"There are no random settings for the family {family}.", nameof(family)),
        };

        Dictionary<string, object> Falcon()
        {
            bool newDecoder = Flip(), parallel = newDecoder || Flip();
            return With(("hidden_size", heads * groups * size), ("num_attention_heads", heads * groups), ("num_hidden_layers", layers),
                ("ffn_hidden_size", mlp), ("max_position_embeddings", 64), ("new_decoder_architecture", newDecoder),
                ("parallel_attn", parallel), ("num_kv_heads", groups), ("multi_query", Flip()), ("alibi", Flip()), ("bias", Flip()),
                ("num_ln_in_parallel_attn", newDecoder && Flip() ? 2 : 1));
        }

        Dictionary<string, object> Opt()
        {
            int width = heads * size;
            return With(("hidden_size", width), ("num_attention_heads", heads), ("num_hidden_layers", layers), ("ffn_dim", mlp),
                ("max_position_embeddings", 64), ("word_embed_proj_dim", Flip() ? width : width + 3), ("do_layer_norm_before", Flip()),
                ("enable_bias", Flip()), ("layer_norm_elementwise_affine", Flip()), ("_remove_final_layer_norm", Flip()));
        }
    }
}
