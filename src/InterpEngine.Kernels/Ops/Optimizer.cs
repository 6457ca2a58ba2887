namespace InterpEngine.Kernels;

/// <summary>Sums over the rows of a matrix, column by column.</summary>
/// <remarks>In double precision, in the order of the rows, then rounded. Deviations are from the mean, which is not rounded first.</remarks>
public readonly record struct ColumnStatistics
{
    /// <summary>[rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>[columns]: Σ x.</summary>
    public required Tensor Sums { get; init; }

    /// <summary>[columns] or none: Σ (x − mean x)².</summary>
    public Tensor? Deviations { get; init; }

    internal void Check()
    {
        const string op = nameof(ColumnStatistics);
        X.Check(op, nameof(X), X.Rows, X.Columns);
        OpCheck.Vector(op, nameof(Sums), Sums, X.Columns);
        OpCheck.Vector(op, nameof(Deviations), Deviations, X.Columns);
    }
}

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

/// <summary>
/// One step of signs on a matrix, averaged as schedule-free learning does: p is y, at which gradients are taken; z is the fast iterate; x, their
/// average, is what one keeps.
/// </summary>
/// <remarks>
/// For every element, in fp32: <c>x = fma(1 − 1/Momentum, z − p, p)</c>, <c>z = z − Rate·sign(g)</c> with sign(0) = 0, <c>x = fma(Share, z − x,
/// x)</c>, <c>p = fma(1 − Momentum, z − x, x)</c>. Defazio et al., The Road Less Scheduled, 2024.
/// </remarks>
public readonly record struct SignStep
{
    /// <summary>[rows, columns]: p, changed in place.</summary>
    public required Matrix Parameter { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix Gradient { get; init; }

    /// <summary>[rows, columns]: z, changed in place.</summary>
    public required Matrix Fast { get; init; }

    /// <summary>How far z goes.</summary>
    public required float Rate { get; init; }

    /// <summary>Between z and x, where p is.</summary>
    public required float Momentum { get; init; }

    /// <summary>What the new z counts in the average: 1/t.</summary>
    public required float Share { get; init; }

    internal void Check()
    {
        const string op = nameof(SignStep);
        Parameter.Check(op, nameof(Parameter), Parameter.Rows, Parameter.Columns);
        Gradient.Check(op, nameof(Gradient), Parameter.Rows, Parameter.Columns);
        Fast.Check(op, nameof(Fast), Parameter.Rows, Parameter.Columns);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="ColumnStatistics"/>.</summary>
    public void Run(in ColumnStatistics op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="SignStep"/>.</summary>
    public void Run(in SignStep op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="ColumnStatistics"/>; arguments are checked.</summary>
    protected abstract void Execute(in ColumnStatistics op);

    /// <summary>This device's <see cref="SignStep"/>; arguments are checked.</summary>
    protected abstract void Execute(in SignStep op);

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
    protected abstract void Execute(in ProjectGradient op);

    /// <summary>This device's <see cref="AdamStep"/>; arguments are checked.</summary>
    protected abstract void Execute(in AdamStep op);
}
