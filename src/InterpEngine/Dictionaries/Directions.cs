using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>Directions as a weight, and which of them others point along.</summary>
internal static class Directions
{
    /// <summary>A weight whose columns are the given rows.</summary>
    /// <param name="device">Where.</param>
    /// <param name="rows">[columns, inner].</param>
    /// <param name="inner">Width of a direction.</param>
    /// <param name="columns">How many.</param>
    /// <param name="type">How they are kept.</param>
    public static unsafe Weight Pack(Device device, float[] rows, int inner, int columns, ElementType type = ElementType.F32)
    {
        Weight weight = device.CreateWeight(inner, columns, type);
        fixed (float* from = rows)
        {
            device.Pack(weight, new WeightBlock((nint)from, ElementType.F32, inner, columns, 1, inner));
        }

        return weight;
    }

    /// <summary>For each row the k columns with the largest products, the largest first; some rows' products are held at a time.</summary>
    public static IEnumerable<(int[] Columns, float[] Products)> Top(Tensor rows, Weight weight, int k, int rowsAtOnce)
    {
        Device device = rows.Device;
        for (int start = 0; start < rows.Shape[0]; start += rowsAtOnce)
        {
            int count = Math.Min(rowsAtOnce, rows.Shape[0] - start);
            using Tensor some = rows.Slice(start, count), products = device.Allocate(ElementType.F32, count, weight.Columns);
            using Tensor values = device.Allocate(ElementType.F32, count, k), indices = device.Allocate(ElementType.I32, count, k);
            device.Run(new MatMul { X = some, W = weight, Out = products });
            device.Run(new TopK { X = products, Values = values, Indices = indices });
            float[] value = values.ToArray<float>();
            int[] index = indices.ToArray<int>();
            for (int row = 0; row < count; row++)
            {
                yield return (index[(row * k)..((row + 1) * k)], value[(row * k)..((row + 1) * k)]);
            }
        }
    }
}
