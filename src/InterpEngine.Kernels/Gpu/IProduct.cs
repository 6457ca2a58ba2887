namespace InterpEngine.Kernels.Gpu;

/// <summary>A way of making products with a device's weights.</summary>
internal interface IProduct : IDisposable
{
    /// <summary>
    /// Whether it makes products with a rectangle of a weight. It must not depend on anything else: the number of rows may not choose
    /// the order of summation.
    /// </summary>
    bool Accepts(GpuWeight weight, int inner, int columns, int innerStart, int columnStart);

    /// <summary>Computes an op that it accepts and that has elements.</summary>
    void Run(in MatMul op, GpuWeight weight);
}
