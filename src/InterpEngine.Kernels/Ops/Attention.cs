namespace InterpEngine.Kernels;

/// <summary>
/// Scaled dot-product attention with grouped keys: <c>scores = scale·Q·Kᵀ</c>, capped, biased by distance and masked;
/// <c>pattern = softmax(scores)</c>; <c>Z = pattern·V</c>.
/// </summary>
/// <remarks>
/// <para>Sequence b's real tokens are keys first ≤ j &lt; end, where (first, end) is row b of <see cref="Spans"/>. Query i of sequence b
/// stands at key position p = <c>i + Keys − Q.Shape[1]</c>: the queries are the last tokens. It sees keys from first to its own position
/// (to end − 1 where the attention is not causal), and of those, with a window w, only the ones with |j − p| &lt; w. A query outside
/// its span sees nothing: its scores are −∞, its pattern and z zero.</para>
/// <para>Order of summation: a score s is one chain of fused multiply-adds from +0 over the head's channels, then one product with the
/// scale. A soft-cap c makes it <c>c·tanh(s/c)</c>; then a slope m makes it <c>fma(m, j − first, s)</c>. The sum of a softmax runs in 16
/// lanes, lane (j − first) mod 16, then the tree; a sink's e^(sink − max) is added last, and max is the largest of scores and sink. Each
/// weight is e^(s − max) times the reciprocal of that sum. An element of Z is one chain of fused multiply-adds from +0 over the visible
/// keys in order. A key that a query does not see is not touched: not even a NaN in it matters.</para>
/// <para>A stage that is given (<see cref="GivenScores"/>, <see cref="GivenPattern"/>) is not computed: this is how an intervention on
/// it continues, with the same bits if it changed nothing. Given scores count only where the query sees the key.</para>
/// </remarks>
public readonly record struct Attention
{
    /// <summary>[batch, queries, heads, head size].</summary>
    public required Tensor Q { get; init; }

    /// <summary>[batch, capacity, kv heads, head size]; head h of Q reads kv head h / (heads / kv heads).</summary>
    public required Tensor K { get; init; }

    /// <summary>[batch, capacity, kv heads, value size].</summary>
    public required Tensor V { get; init; }

    /// <summary>How many keys of the capacity are there, the queries' own among them.</summary>
    public required int Keys { get; init; }

    /// <summary>I32 [1]: how many keys are there, where that is known to the device alone: <see cref="Keys"/> is then the most there may
    /// be, and neither scores nor pattern are given or shown. More than Keys, or fewer than there are queries, are not checked.</summary>
    public Tensor? KeyCount { get; init; }

    /// <summary>I32 [batch, 2]: the first real key of each sequence and the one past its last.</summary>
    public required Tensor Spans { get; init; }

    /// <summary>Multiplies the dot products.</summary>
    public required float Scale { get; init; }

    /// <summary>Whether a query sees no later keys. True unless set.</summary>
    public bool Causal { get; init; } = true;

    /// <summary>A query sees only keys nearer than this, itself at distance 0; 0 for all.</summary>
    public int Window { get; init; }

    /// <summary>Scores are kept in (−cap, cap) by <c>cap·tanh(s/cap)</c> (Gemma 2); 0 for as they are.</summary>
    public float SoftCap { get; init; }

    /// <summary>[heads]: what a score grows by from one key to the next (ALiBi: BLOOM, Falcon).</summary>
    public Tensor? Slopes { get; init; }

    /// <summary>[heads]: one more score of each row of the softmax, whose weight goes nowhere (GPT-OSS).</summary>
    public Tensor? Sinks { get; init; }

    /// <summary>[batch, heads, queries, keys]: used instead of computed scores; Q and K are then not read.</summary>
    public Tensor? GivenScores { get; init; }

    /// <summary>[batch, heads, queries, keys]: used instead of the softmax.</summary>
    public Tensor? GivenPattern { get; init; }

    /// <summary>[batch, heads, queries, keys]: where the masked scores go, if anyone wants them.</summary>
    public Tensor? Scores { get; init; }

    /// <summary>[batch, heads, queries, keys]: where the pattern goes, if anyone wants it.</summary>
    public Tensor? Pattern { get; init; }

    /// <summary>[batch, queries, heads, value size], F32, or BF16 that is rounded to last; none where only scores or pattern are
    /// wanted.</summary>
    public Tensor? Z { get; init; }

    /// <summary>Causal attention.</summary>
    public Attention()
    {
    }

    internal void Check()
    {
        const string op = nameof(Attention);
        if (Q.Shape.Rank != 4 || K.Shape.Rank != 4 || V.Shape.Rank != 4)
        {
            throw new ArgumentException($"{op}: Q, K and V need four axes, not {Q.Shape}, {K.Shape} and {V.Shape}.");
        }

        int batch = Q.Shape[0], queries = Q.Shape[1], heads = Q.Shape[2], kvHeads = K.Shape[2];
        bool fits = K.Shape[0] == batch && V.Shape[0] == batch && K.Shape[1] == V.Shape[1] && V.Shape[2] == kvHeads
            && K.Shape[3] == Q.Shape[3] && (kvHeads == 0 ? heads == 0 : heads % kvHeads == 0);
        if (!fits)
        {
            throw new ArgumentException($"{op}: Q {Q.Shape}, K {K.Shape} and V {V.Shape} do not fit together.");
        }

        if (Keys < queries || Keys > K.Shape[1] || Window < 0)
        {
            throw new ArgumentException($"{op}: {Keys} keys with {queries} queries, a capacity of {K.Shape[1]} and a window of {Window}.");
        }

        if (!(SoftCap >= 0 && float.IsFinite(SoftCap)))
        {
            throw new ArgumentException($"{op}: a soft-cap of {SoftCap}.");
        }

        OpCheck.Vector(op, nameof(Slopes), Slopes, heads);
        OpCheck.Vector(op, nameof(Sinks), Sinks, heads);
        OpCheck.Indices(op, nameof(Spans), Spans, batch * 2);
        foreach (Tensor? square in (ReadOnlySpan<Tensor?>)[GivenScores, GivenPattern, Scores, Pattern])
        {
            OpCheck.Shape(op, "scores or pattern", square, new Shape(batch, heads, queries, Keys));
        }

        if (KeyCount is not null)
        {
            OpCheck.Indices(op, nameof(KeyCount), KeyCount, 1);
            if ((GivenScores ?? GivenPattern ?? Scores ?? Pattern) is not null)
            {
                throw new ArgumentException($"{op}: scores and pattern have no shape where the device alone knows how many keys there are.");
            }
        }

        OpCheck.Shape(op, nameof(Z), Z, new Shape(batch, queries, heads, V.Shape[3]), orNarrow: true);
    }
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Attention"/>.</summary>
    public void Run(in Attention op)
    {
        op.Check();
        if (!RunNarrow(in op))
        {
            Execute(Counted(in op));
        }
    }

    /// <summary>The op with as many keys as there are, on devices whose memory the host reads.</summary>
    private protected virtual Attention Counted(in Attention op) => op;

    /// <summary>This device's <see cref="Attention"/>; arguments are checked.</summary>
    protected abstract void Execute(in Attention op);
}
