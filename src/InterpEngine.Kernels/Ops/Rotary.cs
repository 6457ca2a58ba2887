namespace InterpEngine.Kernels;

/// <summary>Which two channels of a head are rotated together.</summary>
public enum RotaryPairs
{
    /// <summary>Channels i and i + r/2 of the r rotated ones (GPT-NeoX, Llama).</summary>
    Halves,

    /// <summary>Channels 2i and 2i + 1 (GPT-J, Cohere).</summary>
    Interleaved,

    /// <summary>Channels 2i and 2i + 1, written to i and i + r/2 (DeepSeek).</summary>
    InterleavedToHalves,
}

/// <summary>How the heads of a product are rotated; see <see cref="Rotary"/>.</summary>
/// <param name="Positions">I32, one for each token: its row in the tables, negative for none.</param>
/// <param name="Cos">[positions, r/2].</param>
/// <param name="Sin">[positions, r/2].</param>
/// <param name="Pairs">Which channels form a pair.</param>
/// <param name="Start">The first channel of a head that is rotated.</param>
public readonly record struct HeadRotation(Tensor Positions, Tensor Cos, Tensor Sin, RotaryPairs Pairs = RotaryPairs.Halves, int Start = 0)
{
    /// <summary>This rotation of a tensor [tokens, heads, head size], in place unless Out is set.</summary>
    public Rotary Of(Tensor x) =>
        new() { X = x, Positions = Positions, Cos = Cos, Sin = Sin, Pairs = Pairs, Start = Start, Out = x };
}

/// <summary>
/// Rotary position embedding: the pair (a, b) at angle i becomes <c>(a·cos − b·sin, b·cos + a·sin)</c>; channels before and
/// past the rotated ones are copied.
/// </summary>
/// <remarks>Each result is one product and one fused multiply-add: <c>fma(−b, sin, a·cos)</c> and <c>fma(a, sin, b·cos)</c>.</remarks>
public readonly record struct Rotary
{
    /// <summary>[tokens, heads, head size], axes before heads taken together.</summary>
    public required Tensor X { get; init; }

    /// <summary>I32, one for each token: its row in the tables. Negative: the token is padding and is copied.</summary>
    public required Tensor Positions { get; init; }

    /// <summary>[positions, r/2].</summary>
    public required Tensor Cos { get; init; }

    /// <summary>[positions, r/2].</summary>
    public required Tensor Sin { get; init; }

    /// <summary>Which channels form a pair.</summary>
    public RotaryPairs Pairs { get; init; }

    /// <summary>The first channel of a head that is rotated.</summary>
    public int Start { get; init; }

    /// <summary>Like X; may be X, unless the pairs are moved (<see cref="RotaryPairs.InterleavedToHalves"/>).</summary>
    public required Tensor Out { get; init; }

    internal void Check()
    {
        OpCheck.Same(nameof(Rotary), X, Out, nameof(Out));
        OpCheck.Same(nameof(Rotary), Cos, Sin, nameof(Sin));
        if (X.Shape.Rank < 2 || Cos.Shape.Rank != 2 || Start < 0 || Cos.Shape[1] * 2 > X.Shape[^1] - Start)
        {
            throw new ArgumentException($"Rotary: tables {Cos.Shape} do not fit X {X.Shape} from channel {Start} on.");
        }

        if (Pairs == RotaryPairs.InterleavedToHalves && Out.Address == X.Address && X.Shape.Count > 0)
        {
            throw new ArgumentException("Rotary: pairs cannot be moved in place.");
        }

        OpCheck.Indices(nameof(Rotary), nameof(Positions), Positions, Tokens);
    }

    internal int Tokens => X.Shape[^1] == 0 || X.Shape[^2] == 0 ? 0 : (int)(X.Shape.Count / X.Shape[^1] / X.Shape[^2]);
}

public abstract partial class Device
{
    /// <summary>Computes <see cref="Rotary"/>.</summary>
    public void Run(in Rotary op)
    {
        op.Check();
        Execute(in op);
    }

    /// <summary>This device's <see cref="Rotary"/>; arguments are checked.</summary>
    protected abstract void Execute(in Rotary op);
}
