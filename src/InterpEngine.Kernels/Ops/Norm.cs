namespace InterpEngine.Kernels;

/// <summary>How a norm centres its input.</summary>
public enum NormKind
{
    /// <summary>Layer norm: the mean is subtracted.</summary>
    Layer,

    /// <summary>Root-mean-square norm: it is not.</summary>
    Rms,
}

/// <summary>
/// Layer norm and RMS norm over the last axis: <c>scale = √(mean(c²) + ε)</c>, <c>normalized = c·(1/scale)</c>,
/// <c>delta = normalized·gain + bias</c>, <c>out = residual + delta</c>, where c is x − mean(x) for a layer norm and x for an RMS norm.
/// </summary>
/// <remarks>
/// Order of summation: the two means are sums in 16 lanes (lane i mod 16, the squares by fused multiply-add), then the tree; each is
/// divided by the length once. <c>delta</c> is one fused multiply-add, or one product without bias, or one sum without gain.
/// A stage that is given (<see cref="GivenScale"/>, <see cref="GivenNormalized"/>) is not computed: this is how an intervention on
/// it continues, with the same bits if it changed nothing.
/// </remarks>
public readonly record struct Norm
{
    /// <summary>Centred or not.</summary>
    public required NormKind Kind { get; init; }

    /// <summary>[rows, d].</summary>
    public required Matrix X { get; init; }

    /// <summary>ε, added to the mean square.</summary>
    public required float Epsilon { get; init; }

    /// <summary>[d] or none.</summary>
    public Tensor? Gain { get; init; }

    /// <summary>[d] or none.</summary>
    public Tensor? Bias { get; init; }

    /// <summary>[rows] elements: used instead of the computed scale.</summary>
    public Tensor? GivenScale { get; init; }

    /// <summary>[rows, d]: used instead of the computed normalized values; x is then not read, and there is no scale.</summary>
    public Matrix? GivenNormalized { get; init; }

    /// <summary>[rows, d], added last.</summary>
    public Matrix? Residual { get; init; }

    /// <summary>[rows] elements: where the scale goes, if anyone wants it.</summary>
    public Tensor? Scale { get; init; }

    /// <summary>[rows, d]: where the normalized values go, if anyone wants them.</summary>
    public Matrix? Normalized { get; init; }

    /// <summary>[rows, d]: where the values before the residual go, if anyone wants them.</summary>
    public Matrix? Delta { get; init; }

    /// <summary>[rows, d] or none, F32, or BF16 that is rounded to last; may be X or Residual.</summary>
    public Matrix? Out { get; init; }

    internal void Check()
    {
        X.Check(nameof(Norm), nameof(X), X.Rows, X.Columns);
        OpCheck.Vector(nameof(Norm), nameof(Gain), Gain, X.Columns);
        OpCheck.Vector(nameof(Norm), nameof(Bias), Bias, X.Columns);
        OpCheck.Vector(nameof(Norm), nameof(GivenScale), GivenScale, X.Rows);
        OpCheck.Vector(nameof(Norm), nameof(Scale), Scale, X.Rows);
        GivenNormalized?.Check(nameof(Norm), nameof(GivenNormalized), X.Rows, X.Columns);
        Normalized?.Check(nameof(Norm), nameof(Normalized), X.Rows, X.Columns);
        Residual?.Check(nameof(Norm), nameof(Residual), X.Rows, X.Columns);
        Delta?.Check(nameof(Norm), nameof(Delta), X.Rows, X.Columns);
        Out?.Check(nameof(Norm), nameof(Out), X.Rows, X.Columns, orNarrow: true);
        if (GivenNormalized is not null && (Scale ?? GivenScale) is not null)
        {
            throw new ArgumentException("Norm: with normalized values given there is no scale to compute or to use.");
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Norm"/>.</summary>
    public void Run(in Norm op)
    {
        op.Check();
        if (!RunNarrow(in op))
        {
            Execute(in op);
        }
    }

    /// <summary>This device's <see cref="Norm"/>; arguments are checked.</summary>
    protected abstract void Execute(in Norm op);
}
