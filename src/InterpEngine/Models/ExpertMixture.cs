using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>A mixture of experts: a router sends each token through a few of many MLPs.</summary>
public sealed record ExpertMixture
{
    /// <summary>Experts.</summary>
    public required int Count { get; init; }

    /// <summary>Experts that each token goes through.</summary>
    public required int PerToken { get; init; }

    /// <summary>Neurons of an expert.</summary>
    public required int Width { get; init; }

    /// <summary>How the router's logits become scores.</summary>
    public required RouterScore Score { get; init; }

    /// <summary>Whether the weights of a token's experts are divided by their sum.</summary>
    public bool Renormalize { get; init; }

    /// <summary>What multiplies the weights at last.</summary>
    public float Scale { get; init; } = 1;

    /// <summary>Groups of experts of which only the best are chosen from.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Groups that are chosen from.</summary>
    public int GroupsPerToken { get; init; } = 1;

    /// <summary>Neurons of the expert that all tokens go through; 0 for none.</summary>
    public int SharedWidth { get; init; }

    /// <summary>Whether the shared expert's output is multiplied by the sigmoid of a learned score (Qwen2-MoE).</summary>
    public bool SharedGate { get; init; }

    /// <summary>GPT-OSS's gate: values clamped to this, <c>(up + 1) ⊙ gate·σ(α·gate)</c>; 0 for the model's usual gate.</summary>
    public float SwigluLimit { get; init; }

    /// <summary>Its α.</summary>
    public float SwigluAlpha { get; init; } = 1.702f;

    /// <summary>Which blocks have experts.</summary>
    public Func<int, bool> InLayer { get; init; } = _ => true;
}
