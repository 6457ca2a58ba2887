using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks;

/// <summary>Tensors and weights full of ordinary numbers: the speed of arithmetic must not come from zeros or denormals.</summary>
internal static class RandomData
{
    /// <summary>Elements between −1 and 1, divided by a divisor.</summary>
    public static float[] Array(long count, float divisor = 1)
    {
        var random = new Random(1);
        var values = new float[count];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (2 * random.NextSingle() - 1) / divisor;
        }

        return values;
    }

    /// <summary>An F32 tensor.</summary>
    public static Tensor Tensor(Device device, params ReadOnlySpan<int> axes) => device.Upload<float>(Array(new Shape(axes).Count), axes);

    /// <summary>A weight [inner, columns] from a row-major array, so scaled that products keep the size of their inputs.</summary>
    public static unsafe Weight Weight(
        Device device, int inner, int columns, float[]? values = null, ElementType type = ElementType.F32)
    {
        values ??= Array((long)inner * columns, MathF.Sqrt(inner));
        Weight weight = device.CreateWeight(inner, columns, type);
        fixed (float* first = values)
        {
            device.Pack(weight, new WeightBlock((nint)first, ElementType.F32, inner, columns, columns, 1));
        }

        return weight;
    }
}
