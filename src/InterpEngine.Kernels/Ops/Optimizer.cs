namespace InterpEngine.Kernels;

/// <summary>
/// Prepares the gradient of a matrix whose rows are to keep a direction's length: optionally takes out of each row the part along the
/// parameter's own row, and always measures what is left.
/// </summary>
/// <remarks>
/// <c>w = p</c>, or <c>p / (‖p‖ + DivideEpsilon)</c> where that is given; <c>g ← g − (g·w)·w</c> by fused multiply-adds; a norm is a root of
/// a sum of squares, sums run in 16 lanes of fused multiply-adds, then the tree.
/// </remarks>
public readonly record struct ProjectGradient
{
    /// <summary>[rows, columns].</summary>
    public required Matrix Parameter { get; init; }

    /// <summary>[rows, columns], changed in place.</summary>
    public required Matrix Gradient { get; init; }

    /// <summary>Whether the part along the parameter's row is taken out.</summary>
    public bool Project { get; init; }

    /// <summary>What is added to the norm that the parameter's row is divided by; negative for no division.</summary>
    public float DivideEpsilon { get; init; }

    /// <summary>[rows]: Σ g² of each row afterwards.</summary>
    public required Tensor Squares { get; init; }

    internal void Check()
    {
        const string op = nameof(ProjectGradient);
        Parameter.Check(op, nameof(Parameter), Gradient.Rows, Gradient.Columns);
        Gradient.Check(op, nameof(Gradient), Gradient.Rows, Gradient.Columns);
        OpCheck.Vector(op, nameof(Squares), Squares, Gradient.Rows);
    }
}

/// <summary>
/// One step of Adam on the rows of a matrix, and what keeps those rows at length 1, in one pass over memory.
/// </summary>
/// <remarks>
/// For every element, in fp32, each operation rounded once: <c>g = GradientScale·g</c>, <c>m = fma(1 − β₁, g, β₁·m)</c>,
/// <c>v = fma((1 − β₂)·g, g, β₂·v)</c>, <c>p = p − StepSize·m / fma(√v, InverseRootCorrection, Epsilon)</c>. Then, where
/// <see cref="NormalizeEpsilon"/> is not negative, each row of p is divided by (its norm + that); a row of zeros stays. Sums as in
/// <see cref="ProjectGradient"/>. Kingma and Ba, Adam, 2015.
/// </remarks>
public readonly record struct AdamStep
{
    /// <summary>[rows, columns], changed in place.</summary>
    public required Matrix Parameter { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix Gradient { get; init; }

    /// <summary>[rows, columns]: the mean of gradients, changed in place.</summary>
    public required Matrix M { get; init; }

    /// <summary>[rows, columns]: the mean of their squares, changed in place.</summary>
    public required Matrix V { get; init; }

    /// <summary>Multiplies the gradient: clipping.</summary>
    public float GradientScale { get; init; } = 1;

    /// <summary>Learning rate / (1 − β₁ᵗ).</summary>
    public required float StepSize { get; init; }

    /// <summary>β₁.</summary>
    public float Beta1 { get; init; } = 0.9f;

    /// <summary>β₂.</summary>
    public float Beta2 { get; init; } = 0.999f;

    /// <summary>1 / √(1 − β₂ᵗ).</summary>
    public required float InverseRootCorrection { get; init; }

    /// <summary>Added to the root.</summary>
    public float Epsilon { get; init; } = 1e-8f;

    /// <summary>Added to the norm that rows are divided by afterwards; negative for rows left as they are.</summary>
    public float NormalizeEpsilon { get; init; } = -1;

    /// <summary>The usual settings.</summary>
    public AdamStep()
    {
    }

    internal void Check()
    {
        const string op = nameof(AdamStep);
        int rows = Parameter.Rows, columns = Parameter.Columns;
        Parameter.Check(op, nameof(Parameter), rows, columns);
        Gradient.Check(op, nameof(Gradient), rows, columns);
        M.Check(op, nameof(M), rows, columns);
        V.Check(op, nameof(V), rows, columns);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="ProjectGradient"/>.</summary>
    public void Run(in ProjectGradient op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="AdamStep"/>.</summary>
    public void Run(in AdamStep op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="ProjectGradient"/>; arguments are checked.</summary>
    protected virtual void Execute(in ProjectGradient op) => throw Lacks(nameof(ProjectGradient));

    /// <summary>This device's <see cref="AdamStep"/>; arguments are checked.</summary>
    protected virtual void Execute(in AdamStep op) => throw Lacks(nameof(AdamStep));
}
