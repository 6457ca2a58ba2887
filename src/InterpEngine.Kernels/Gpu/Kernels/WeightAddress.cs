using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>What a table of a <see cref="WeightGroup"/> has of each weight: addresses in bytes, a negative one for no bias.</summary>
internal static class WeightAddress
{
    public const int Elements = 0, Scales = 1, Bias = 2, Length = 3;

    /// <summary>The weight that a row chose; the first one, and a fault, where there is no such weight.</summary>
    public static int Chosen(ArrayView<int> choice, int row, int weights, ArrayView<int> faults) =>
        IntrinsicMath.Max(0, TableKernels.Required(choice[row], weights, (int)IndexedOp.GroupedMatMul, faults));

    /// <summary>Its bias, or an empty view.</summary>
    public static ArrayView<float> BiasOf(ArrayView<long> addresses, int weight, ArrayView<float> memory, int columns)
    {
        long bias = addresses[weight * Length + Bias];
        ArrayView<float> own = default;
        if (bias >= 0)
        {
            own = memory.SubView(bias / sizeof(float), columns);
        }

        return own;
    }
}
