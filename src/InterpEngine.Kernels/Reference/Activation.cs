namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    private static float Activate(Activation activation, float value) =>
        activation == Activation.None ? value : (float)Activate(activation, (double)value);

    private static double Activate(Activation activation, double x) => activation switch
    {
        Activation.Relu => Math.Max(x, 0),
        Activation.Gelu => 0.5 * x * Erfc(-x / Math.Sqrt(2)),
        Activation.GeluTanh => x * Sigmoid(2 * Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)), // ½(1 + tanh u) = σ(2u)
        Activation.QuickGelu => x * Sigmoid(1.702 * x),
        Activation.Silu => x * Sigmoid(x),
        Activation.ReluSquared => Math.Max(x, 0) * Math.Max(x, 0),
        Activation.Tanh => Math.Tanh(x),
        Activation.Sigmoid => Sigmoid(x),
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, null),
    };

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    /// <summary>1 − erf(x), with a small relative error in the tail too.</summary>
    internal static double Erfc(double x) => x switch
    {
        double.NaN => double.NaN,
        < 2 => 1 - Erf(x),
        > 27 => 0, // below the smallest double
        _ => Math.Exp(-x * x) / Math.Sqrt(Math.PI) / TailFraction(x),
    };

    /// <summary>The error function, to about 1e-15.</summary>
    internal static double Erf(double x)
    {
        if (Math.Abs(x) >= 2)
        {
            return x > 0 ? 1 - Erfc(x) : Erfc(-x) - 1;
        }

        // 2/√π e^(−x²) Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)), whose terms have one sign.
        double term = x, sum = x;
        for (int n = 1; n <= 60; n++)
        {
            term *= 2 * x * x / (2 * n + 1);
            sum += term;
        }

        return 2 / Math.Sqrt(Math.PI) * Math.Exp(-x * x) * sum;
    }

    /// <summary>x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …))), for x ≥ 2.</summary>
    private static double TailFraction(double x)
    {
        double fraction = x;
        for (int n = 80; n >= 1; n--)
        {
            fraction = x + n * 0.5 / fraction;
        }

        return fraction;
    }
}
