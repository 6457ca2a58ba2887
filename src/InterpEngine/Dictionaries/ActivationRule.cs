namespace InterpEngine.Dictionaries;

/// <summary>How pre-activations h become activations.</summary>
public enum ActivationKind
{
    /// <summary>relu(h).</summary>
    Relu,

    /// <summary>h where it is above its feature's threshold (Rajamanoharan et al., Jumping Ahead, 2024).</summary>
    JumpRelu,

    /// <summary>The k largest of each row (Gao et al., Scaling and evaluating sparse autoencoders, 2024).</summary>
    TopK,

    /// <summary>The k of each row that are largest in magnitude.</summary>
    TopMagnitude,

    /// <summary>The k·n largest of n rows together (Bussmann et al., BatchTopK, 2024).</summary>
    BatchTopK,

    /// <summary>The largest of each of k groups of neighbouring features.</summary>
    GroupMax,

    /// <summary>A gate decides which features are active, a magnitude how much (Rajamanoharan et al., Gated SAEs, 2024).</summary>
    Gated,

    /// <summary>Features chosen one after the other, each for what the others left (Mallat and Zhang, 1993).</summary>
    MatchingPursuit,
}

/// <summary>An activation with its settings.</summary>
/// <param name="Kind">Which.</param>
/// <param name="K">Features of a row; a mean, and so any number, for <see cref="ActivationKind.BatchTopK"/>.</param>
public sealed record ActivationRule(ActivationKind Kind, double K = 0)
{
    /// <summary>relu(h).</summary>
    public static ActivationRule Relu { get; } = new(ActivationKind.Relu);

    /// <summary>h above a threshold.</summary>
    public static ActivationRule JumpRelu { get; } = new(ActivationKind.JumpRelu);

    /// <summary>Whether negative values stay where nothing but the rule would remove them.</summary>
    public bool KeepsNegative { get; init; }

    /// <summary>Features that matching pursuit chooses at most, repeated ones counted; null for the width of the input.</summary>
    public int? MaxIterations { get; init; }

    /// <summary>Matching pursuit is done with a row whose residual is shorter than that; 0 for never.</summary>
    public double ResidualThreshold { get; init; }

    /// <summary>Whether matching pursuit is done with a row when it chooses no new feature.</summary>
    public bool StopOnDuplicateSupport { get; init; } = true;
}

/// <summary>What is done to each input row before it is encoded, and undone after decoding.</summary>
public enum InputNormalization
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Nothing at run time: the data's mean norm is to be √d, by a factor that can be folded into the weights.</summary>
    ExpectedAverage,

    /// <summary>Each row is scaled to the norm √d.</summary>
    ConstantNorm,

    /// <summary>Each row loses its mean and is divided by its unbiased standard deviation + 1e-5; the 1e-5 is not undone.</summary>
    LayerNorm,

    /// <summary>Nothing at run time: the data are to be white, by matrices that can be folded into the weights.</summary>
    Whitening,
}
