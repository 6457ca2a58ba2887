namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>
/// A true value and how far two float32 computations of it may lie apart: the running error analysis from which every tolerance
/// of the suite is computed.
/// </summary>
/// <remarks>
/// <para>u = 2⁻²⁴ is the unit roundoff. Each stored or intermediate result adds the rounding of the device and that of the
/// reference, 2u·|value|; below the smallest normal number it adds the value itself, since a device may flush it to zero.</para>
/// <para>A sum of terms tᵢ with true values vᵢ, made in chains of length n, adds γₙ·Σ|vᵢ| with γₙ = nu/(1 − nu), whatever the
/// order within (Higham, Accuracy and Stability of Numerical Algorithms, §4.2).</para>
/// <para>Errors of arguments pass through + − × ÷ by the usual bounds and through a monotone function f as the larger of
/// |f(x ± e) − f(x)|. Elementary functions add a budget in units in the last place (one is at most 2u·|value|).</para>
/// </remarks>
internal readonly record struct Approx
{
    private const double UnitRoundoff = 1.0 / (1 << 24);
    private const double SmallestNormal = 1.1754943508222875e-38;
    private const double SmallestSubnormal = 1.401298464324817e-45;

    private Approx(double value, double error)
    {
        Value = value;
        Error = double.IsFinite(value) && double.IsFinite(error) ? error : 0;
    }

    public double Value { get; }

    public double Error { get; }

    public static implicit operator Approx(float exact) => new(exact, 0);

    public static Approx operator +(Approx a, Approx b) => Rounded(a.Value + b.Value, a.Error + b.Error);

    public static Approx operator -(Approx a, Approx b) => Rounded(a.Value - b.Value, a.Error + b.Error);

    public static Approx operator *(Approx a, Approx b) => Rounded(a.Value * b.Value, ProductError(a, b));

    public static Approx operator /(Approx a, Approx b)
    {
        double divisor = Math.Abs(b.Value), quotient = a.Value / b.Value;
        double error = a.Error == 0 && b.Error == 0 ? 0 : (a.Error + Math.Abs(quotient) * b.Error) / (divisor - b.Error);
        return b.Error < divisor || b.Error == 0
            ? Rounded(quotient, error)
            : throw new InvalidOperationException($"The quotient {a.Value}/{b.Value} has no bound: the case is ill-conditioned.");
    }

    /// <summary>Σ aᵢ·bᵢ over i &lt; length by fused multiply-adds in chains no longer than <paramref name="chain"/>.</summary>
    public static Approx Dot(int length, int chain, Func<int, Approx> a, Func<int, Approx> b)
    {
        double sum = 0, magnitude = 0, error = 0;
        for (int i = 0; i < length; i++)
        {
            Approx left = a(i), right = b(i);
            sum += left.Value * right.Value;
            magnitude += Math.Abs(left.Value * right.Value);
            error += ProductError(left, right);
        }

        return Rounded(sum, error + Gamma(chain) * (magnitude + error));
    }

    /// <summary>Σ aᵢ over i &lt; length in chains no longer than <paramref name="chain"/>.</summary>
    public static Approx Sum(int length, int chain, Func<int, Approx> a) => Dot(length, chain, a, _ => 1);

    /// <summary>The longest chain of a sum in 16 lanes and the tree.</summary>
    public static int Lanes(int length) => (length + 15) / 16 + 4;

    public static Approx Max(Approx a, Approx b) => new(Math.Max(a.Value, b.Value), Math.Max(a.Error, b.Error));

    public static Approx Sqrt(Approx x) => Monotone(x, v => Math.Sqrt(v < 0 ? 0 : v), 1);

    public static Approx Exp(Approx x) => Monotone(x, Math.Exp, 2);

    public static Approx Log(Approx x) => Monotone(x, Math.Log, 2);

    public static Approx Tanh(Approx x) => Monotone(x, Math.Tanh, 4);

    public static Approx Apply(Activation activation, Approx x) => activation switch
    {
        Activation.None => x,
        Activation.Relu => Max(x, 0),
        Activation.ReluSquared => Max(x, 0) * Max(x, 0),
        Activation.Gelu => (Approx)0.5f * x * OnePlus(x / Constant(Math.Sqrt(2)), v => Reference.ReferenceDevice.Erfc(-v)),
        Activation.GeluTanh => (Approx)0.5f * x * OnePlus(
            Constant(Math.Sqrt(2 / Math.PI)) * (x + Constant(0.044715) * Cube(x)), v => 2 / (1 + Math.Exp(-2 * v))),
        Activation.QuickGelu => x * Sigmoid(Constant(1.702) * x),
        Activation.Silu => x * Sigmoid(x),
        Activation.Tanh => Tanh(x),
        Activation.Sigmoid => Sigmoid(x),
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, null),
    };

    private static Approx Sigmoid(Approx x) => Monotone(x, v => 1 / (1 + Math.Exp(-v)), 4);

    private static Approx Cube(Approx x) => x * x * x;

    private static Approx Constant(double value) => Rounded(value, 0);

    /// <summary>f(x), f being monotone. Where f is within u/4 of ±1, it may be anything between itself and ±1.</summary>
    private static Approx Monotone(Approx x, Func<double, double> f, int ulps)
    {
        double value = f(x.Value), passed = Passed(x, f), fromOne = 1 - Math.Abs(value);
        bool saturated = passed == 0 && fromOne is >= 0 and < UnitRoundoff / 4;
        return saturated ? new(value, fromOne) : Rounded(value, passed + ulps * RoundingError(value));
    }

    /// <summary>
    /// g(x) = 1 + f(x), f being an error function or hyperbolic tangent with a budget of 4 units in its last place. Where g is
    /// below u/4, f rounds to −1, so that g must be between itself and 0.
    /// </summary>
    private static Approx OnePlus(Approx x, Func<double, double> g)
    {
        double value = g(x.Value), passed = Passed(x, g);
        return value < UnitRoundoff / 4 ? new(value, passed + value) : Rounded(value, passed + 4 * RoundingError(value - 1));
    }

    /// <summary>What the error of an argument becomes.</summary>
    private static double Passed(Approx x, Func<double, double> monotone)
    {
        double value = monotone(x.Value);
        return Math.Max(Math.Abs(monotone(x.Value + x.Error) - value), Math.Abs(value - monotone(x.Value - x.Error)));
    }

    private static Approx Rounded(double value, double error) =>
        new(value, error + RoundingError(Math.Abs(value) + error));

    private static double RoundingError(double value) => Math.Abs(value) switch
    {
        0 => 0,
        < SmallestNormal => Math.Abs(value) + SmallestSubnormal,
        _ => 2 * UnitRoundoff * Math.Abs(value),
    };

    private static double ProductError(Approx a, Approx b) =>
        (a.Error == 0 ? 0 : a.Error * Math.Abs(b.Value))
        + (b.Error == 0 ? 0 : b.Error * Math.Abs(a.Value))
        + a.Error * b.Error;

    private static double Gamma(int n) => n * UnitRoundoff / (1 - n * UnitRoundoff);
}
