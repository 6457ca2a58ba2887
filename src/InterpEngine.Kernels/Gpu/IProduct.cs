namespace InterpEngine.Kernels.Gpu;

/// <summary>A way of making products with a device's weights.</summary>
internal interface IProduct : IDisposable
{
    /// <summary>
    /// Whether it makes products with a rectangle of a weight. It must not depend on anything else: the number of rows may not choose
    /// the order of summation.
    /// </summary>
    bool Accepts(GpuWeight weight, int inner, int columns, int innerStart, int columnStart);

    /// <summary>Whether X and Out may be BF16.</summary>
    bool TakesNarrow { get; }

    /// <summary>Computes an op that it accepts and that has elements.</summary>
    void Run(in MatMul op, GpuWeight weight);

    /// <summary>Computes ops of one X that it accepts, with the bits of one after the other, if it has a way of its own for them.</summary>
    /// <returns>False where it has none; nothing is computed then.</returns>
    bool Run(ReadOnlySpan<MatMul> products) => false;

    /// <summary>Whether it follows a choice among accepted weights that the device alone knows (<see cref="GroupedMatMul.Choice"/>).</summary>
    bool Chooses(GpuWeight weight) => false;

    /// <summary>Computes an op whose weights it accepts, if it has a way of its own for groups of rows. Rows choose among weights only where it
    /// <see cref="Chooses"/>.</summary>
    /// <returns>False where it has none; nothing is computed then.</returns>
    bool Run(in GroupedMatMul op) => false;
}
