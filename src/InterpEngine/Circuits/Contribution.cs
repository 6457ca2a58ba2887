namespace InterpEngine.Circuits;

/// <summary>What writes to the residual stream, or to the logits past it.</summary>
public enum ComponentKind
{
    /// <summary>The token embedding.</summary>
    Embed,

    /// <summary>The learned position embedding.</summary>
    PosEmbed,

    /// <summary>One attention head, without the bias that all heads of its block share.</summary>
    Head,

    /// <summary>The bias of a block's attention output.</summary>
    AttentionBias,

    /// <summary>A block's neurons, without the output bias.</summary>
    Mlp,

    /// <summary>The bias of a block's MLP output.</summary>
    MlpBias,

    /// <summary>A block's mixture of experts, with its biases.</summary>
    Experts,

    /// <summary>The biases of a block's norms on what it writes or on the residual stream.</summary>
    NormBias,

    /// <summary>The bias of the final norm.</summary>
    FinalNormBias,

    /// <summary>The bias of the unembedding.</summary>
    UnembedBias,
}

/// <summary>What one component adds to a logit.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Layer">Its block; null outside the blocks.</param>
/// <param name="Head">Its head; null unless it is one.</param>
/// <param name="Value">What it adds.</param>
public sealed record Contribution(ComponentKind Kind, int? Layer, int? Head, double Value)
{
    /// <summary>A short name, such as <c>L2H1</c>.</summary>
    public string Name => Kind switch
    {
        ComponentKind.Embed => "token embedding",
        ComponentKind.PosEmbed => "position embedding",
        ComponentKind.Head => $"L{Layer}H{Head}",
        ComponentKind.AttentionBias => $"L{Layer} attention bias",
        ComponentKind.Mlp => $"L{Layer} MLP",
        ComponentKind.MlpBias => $"L{Layer} MLP bias",
        ComponentKind.Experts => $"L{Layer} experts",
        ComponentKind.NormBias => $"L{Layer} norm bias",
        ComponentKind.FinalNormBias => "final norm bias",
        _ => "unembedding bias",
    };
}

/// <summary>What one neuron adds to a logit.</summary>
/// <param name="Layer">Its block.</param>
/// <param name="Neuron">Its number in the block.</param>
/// <param name="Activation">Its value: <c>mlp.hook_post</c>.</param>
/// <param name="Value">What it adds.</param>
public sealed record NeuronContribution(int Layer, int Neuron, double Activation, double Value);
