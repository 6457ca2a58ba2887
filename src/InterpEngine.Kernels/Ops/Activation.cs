namespace InterpEngine.Kernels;

/// <summary>The non-linearities of MLPs. NaN gives NaN.</summary>
public enum Activation
{
    /// <summary>x.</summary>
    None,

    /// <summary>max(x, 0).</summary>
    Relu,

    /// <summary>x·Φ(x) by the error function: ½x(1 + erf(x/√2)).</summary>
    Gelu,

    /// <summary>½x(1 + tanh(√(2/π)(x + 0.044715x³))): <c>gelu_new</c>, <c>gelu_fast</c>, <c>gelu_pytorch_tanh</c>.</summary>
    GeluTanh,

    /// <summary>x·σ(1.702x).</summary>
    QuickGelu,

    /// <summary>x·σ(x), also called swish.</summary>
    Silu,

    /// <summary>max(x, 0)².</summary>
    ReluSquared,

    /// <summary>tanh(x).</summary>
    Tanh,

    /// <summary>σ(x) = 1/(1 + e⁻ˣ).</summary>
    Sigmoid,
}
