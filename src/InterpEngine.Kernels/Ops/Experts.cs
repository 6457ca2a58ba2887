namespace InterpEngine.Kernels;

/// <summary>How a router scores experts.</summary>
public enum RouterScore
{
    /// <summary>The softmax of the logits (Mixtral, Qwen, OLMoE, GPT-OSS).</summary>
    Softmax,

    /// <summary>The logistic function of each logit (DeepSeek-V3).</summary>
    Sigmoid,
}

/// <summary>
/// Chooses k experts for each row from the router's logits, and their weights: what the experts' outputs are really multiplied by.
/// </summary>
/// <remarks>
/// <para>Softmax: the k largest logits are chosen, the largest first. A weight is <c>e^(logit − largest) / Σ × Factor</c>, the sum
/// running over all experts, or with <see cref="Renormalize"/> over the chosen ones.</para>
/// <para>Sigmoid: with <c>score = σ(logit)</c> the k largest <c>score + ChoiceBias</c> are chosen, and then ordered by their scores, the
/// largest first. The bias moves the choice, not the weights. With several groups (neighbouring experts, all groups of one size) only
/// the <see cref="ChosenGroups"/> best take part, a group being worth the sum of its two largest; an expert of another group stands
/// with 0, as it does in Hugging Face's code. A weight is <c>score × Factor</c>, with <see cref="Renormalize"/>
/// <c>score / (Σ + 1e-20) × Factor</c>, the sum running over the chosen ones.</para>
/// <para>Of equal experts or groups the lower one comes first; NaN is larger than everything. Order of summation: over all experts in
/// 16 lanes, then the tree; over the chosen ones a chain of sums in their order.</para>
/// </remarks>
public readonly record struct Route
{
    /// <summary>[rows, experts].</summary>
    public required Matrix Logits { get; init; }

    /// <summary>How logits become scores.</summary>
    public RouterScore Score { get; init; }

    /// <summary>[experts] or none: added to the scores for the choice alone. Sigmoid only.</summary>
    public Tensor? ChoiceBias { get; init; }

    /// <summary>Into how many groups the experts are divided; 1 unless set. More than one with sigmoid only.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Of how many groups experts are chosen; 1 unless set.</summary>
    public int ChosenGroups { get; init; } = 1;

    /// <summary>Whether the chosen experts' weights add up to <see cref="Factor"/>.</summary>
    public bool Renormalize { get; init; }

    /// <summary>Multiplies every weight; 1 unless set.</summary>
    public float Factor { get; init; } = 1;

    /// <summary>I32 [rows, k], 1 ≤ k ≤ experts.</summary>
    public required Tensor Indices { get; init; }

    /// <summary>[rows, k].</summary>
    public required Tensor Weights { get; init; }

    /// <summary>One group, factor 1.</summary>
    public Route()
    {
    }

    internal void Check()
    {
        const string op = nameof(Route);
        int experts = Logits.Columns;
        Logits.Check(op, nameof(Logits), Logits.Rows, experts);
        OpCheck.Vector(op, nameof(ChoiceBias), ChoiceBias, experts);
        OpCheck.Indices(op, nameof(Indices), Indices, Weights.Shape.Count);
        if (Weights.Type != ElementType.F32 || Weights.Shape.Rank != 2 || Weights.Shape[0] != Logits.Rows
            || Weights.Shape[1] < 1 || Weights.Shape[1] > experts)
        {
            throw new ArgumentException($"{op}: weights {Weights.Type} {Weights.Shape} do not fit logits [{Logits.Rows}, {experts}].");
        }

        if (Groups < 1 || ChosenGroups < 1 || ChosenGroups > Groups || experts % Groups != 0)
        {
            throw new ArgumentException($"{op}: {ChosenGroups} of {Groups} groups cannot be chosen from {experts} experts.");
        }

        if (Score == RouterScore.Softmax && (Groups > 1 || ChoiceBias is not null))
        {
            throw new ArgumentException($"{op}: softmax scores take neither groups nor a bias for the choice.");
        }
    }
}

/// <summary>Copies rows by an index list, exactly: <c>Out[r] = From[indices[r]]</c>. A negative index gives zeros.</summary>
public readonly record struct GatherRows
{
    /// <summary>[any number of rows, columns].</summary>
    public required Matrix From { get; init; }

    /// <summary>I32, one for each row of Out; negative or below From's rows.</summary>
    public required Tensor Indices { get; init; }

    /// <summary>[rows, columns]; must not overlap From.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        From.Check(nameof(GatherRows), nameof(From), From.Rows, Out.Columns);
        OpCheck.Indices(nameof(GatherRows), nameof(Indices), Indices, Out.Rows);
        Out.Check(nameof(GatherRows), nameof(Out), Out.Rows, Out.Columns);
    }
}

/// <summary>
/// Adds up chosen rows with weights: <c>delta[r] = Σⱼ weights[r, j]·X[indices[r, j]]; out = residual + delta</c>. So the outputs of a
/// row's experts come together, X holding all of them grouped by expert.
/// </summary>
/// <remarks>
/// Order of summation: an element is one chain of fused multiply-adds from +0 over j = 0 … k−1, wherever X holds the rows. A negative
/// index is skipped.
/// </remarks>
public readonly record struct CombineRows
{
    /// <summary>[any number of rows, columns].</summary>
    public required Matrix X { get; init; }

    /// <summary>I32 [rows, k]; negative or below X's rows.</summary>
    public required Tensor Indices { get; init; }

    /// <summary>[rows, k].</summary>
    public required Tensor Weights { get; init; }

    /// <summary>[rows, columns], added last.</summary>
    public Matrix? Residual { get; init; }

    /// <summary>[rows, columns]: where the sums before the residual go, if anyone wants them.</summary>
    public Matrix? Delta { get; init; }

    /// <summary>[rows, columns]; may be Residual.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        const string op = nameof(CombineRows);
        int rows = Out.Rows, columns = Out.Columns;
        X.Check(op, nameof(X), X.Rows, columns);
        Residual?.Check(op, nameof(Residual), rows, columns);
        Delta?.Check(op, nameof(Delta), rows, columns);
        Out.Check(op, nameof(Out), rows, columns);
        OpCheck.Indices(op, nameof(Indices), Indices, Weights.Shape.Count);
        if (Weights.Type != ElementType.F32 || Weights.Shape.Rank != 2 || Weights.Shape[0] != rows)
        {
            throw new ArgumentException($"{op}: weights {Weights.Type} {Weights.Shape} do not fit an output [{rows}, {columns}].");
        }
    }
}

/// <summary>
/// GPT-OSS's gated non-linearity: <c>g = min(gate, limit); u = clamp(up, −limit, limit); out = g·σ(alpha·g) × (u + 1)</c>, each step
/// rounded once. NaN gives NaN.
/// </summary>
public readonly record struct ClampedSwiglu
{
    /// <summary>[rows, columns].</summary>
    public required Matrix Gate { get; init; }

    /// <summary>[rows, columns].</summary>
    public required Matrix Up { get; init; }

    /// <summary>Multiplies the gate inside the logistic function.</summary>
    public required float Alpha { get; init; }

    /// <summary>Where gate and up are cut off; positive, or infinite for no limit.</summary>
    public required float Limit { get; init; }

    /// <summary>[rows, columns]; may be Gate or Up.</summary>
    public required Matrix Out { get; init; }

    internal void Check()
    {
        Gate.Check(nameof(ClampedSwiglu), nameof(Gate), Out.Rows, Out.Columns);
        Up.Check(nameof(ClampedSwiglu), nameof(Up), Out.Rows, Out.Columns);
        Out.Check(nameof(ClampedSwiglu), nameof(Out), Out.Rows, Out.Columns);
        if (!(Limit > 0))
        {
            throw new ArgumentException($"{nameof(ClampedSwiglu)}: a limit of {Limit}; expected a positive one.");
        }
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Route"/>.</summary>
    public void Run(in Route op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="GatherRows"/>.</summary>
    public void Run(in GatherRows op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="CombineRows"/>.</summary>
    public void Run(in CombineRows op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>Computes <see cref="ClampedSwiglu"/>.</summary>
    public void Run(in ClampedSwiglu op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="Route"/>; arguments are checked.</summary>
    protected abstract void Execute(in Route op);

    /// <summary>This device's <see cref="GatherRows"/>; arguments are checked.</summary>
    protected abstract void Execute(in GatherRows op);

    /// <summary>This device's <see cref="CombineRows"/>; arguments are checked.</summary>
    protected abstract void Execute(in CombineRows op);

    /// <summary>This device's <see cref="ClampedSwiglu"/>; arguments are checked.</summary>
    protected abstract void Execute(in ClampedSwiglu op);
}
