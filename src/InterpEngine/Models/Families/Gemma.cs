using InterpEngine.Formats;

namespace InterpEngine.Models.Families;

/// <summary>Gemma: gains stored less one, a gate with tanh-GELU, a scaled tied embedding.</summary>
internal static class Gemma
{
    public static ModelDescription Read(ConfigFile config) => Read(config, "gemma", LlamaLike.Names());

    /// <summary>What all Gemmas share.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="family">The family's name.</param>
    /// <param name="names">Where its checkpoints keep the parameters.</param>
    /// <param name="theta">The rotary base where the settings say nothing.</param>
    public static ModelDescription Read(
        ConfigFile config, string family, Dictionary<Parameter, ParameterSource> names, double theta = 10000)
    {
        config.Expect("use_bidirectional_attention", false);
        names.WithAttentionBias(config.Bool("attention_bias", false));
        var defaults = new LlamaLike.Defaults { HeadSize = 256, Activation = "gelu_pytorch_tanh", Tied = true, Theta = theta };
        ModelDescription model = LlamaLike.Read(config, family, names, defaults);
        return model with
        {
            // The first Gemmas' hidden_act says "gelu" but means its tanh form; hidden_activation says what is meant.
            Activation = config.Has("hidden_activation") || config.OptionalString("hidden_act") is null or "gelu"
                ? config.Activation("hidden_activation", "gelu_pytorch_tanh")
                : model.Activation,
            GainOffset = 1,
            EmbeddingScale = (float)Math.Sqrt(model.Width),
        };
    }
}
