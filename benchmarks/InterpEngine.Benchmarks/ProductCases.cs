using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks;

/// <summary>Matrix products: the shapes of the bars, and one and few rows, as decoding has them.</summary>
internal static class ProductCases
{
    /// <summary>Weights enough that none of them is in a cache when its turn comes.</summary>
    private const long ColdBytes = 512L << 20;

    public static IEnumerable<OpCase> All() =>
    [
        MatMul(128, 768, 768), MatMul(1024, 3072, 768), MatMul(1024, 768, 3072), MatMul(1024, 24576, 768),
        MatMul(8, 768, 3072), MatMul(16, 768, 768), MatMul(16, 768, 3072), MatMul(16, 3072, 768),
        MatMul(1, 768, 768), MatMul(1, 768, 3072), MatMul(1, 3072, 768), MatMul(1, 768, 50257),
        MatMul(1024, 768, 3072, ElementType.BF16), MatMul(1024, 768, 3072, ElementType.I8),
        MatMul(1, 768, 50257, ElementType.BF16), MatMul(1, 768, 50257, ElementType.I8),
        MlpIn(1024, 768, 3072), Heads(1024, 2048, 32, 8, together: true), Heads(1024, 2048, 32, 8, together: false),
        Heads(16, 2048, 32, 8, together: true), Heads(16, 2048, 32, 8, together: false),
        Transposed(1, 768, 3072), Transposed(1024, 768, 3072), Transposed(256, 768, 50257), Embed(1024, 768, 50257),
    ];

    /// <summary>Narrow weights too are held against the peak of fp32 multiply-adds, and against reading their own bytes.</summary>
    private static OpCase MatMul(int rows, int inner, int columns, ElementType type = ElementType.F32) => new(
        $"MatMul {rows}×{inner}×{columns}{(type == ElementType.F32 ? "" : $" {type}")}", 2.0 * rows * inner * columns,
        (double)type.Size() * inner * columns, () =>
        {
            Tensor x = RandomData.Tensor(Machine.Device, rows, inner), result = Machine.Device.Allocate(ElementType.F32, rows, columns);
            Weight[] weights = Weights(inner, columns, cold: rows <= 16, type);
            int turn = 0;
            return () => Machine.Device.Run(new MatMul { X = x, W = weights[turn++ % weights.Length], Out = result });
        });

    private static OpCase MlpIn(int rows, int inner, int columns) => new(
        $"MatMul + bias + GELU {rows}×{inner}×{columns}", 2.0 * rows * inner * columns, 4.0 * inner * columns, () =>
        {
            Tensor x = RandomData.Tensor(Machine.Device, rows, inner), result = Machine.Device.Allocate(ElementType.F32, rows, columns);
            Tensor bias = RandomData.Tensor(Machine.Device, columns);
            Weight weight = RandomData.Weight(Machine.Device, inner, columns);
            return () => Machine.Device.Run(
                new MatMul { X = x, W = weight, Bias = bias, Activation = Activation.GeluTanh, Out = result });
        });

    /// <summary>Queries, keys and values with their rotation: as one call, or as five ops.</summary>
    private static OpCase Heads(int rows, int width, int heads, int groups, bool together)
    {
        const int size = 64;
        int columns = (heads + 2 * groups) * size;
        string name = $"q, k, v and rotation {rows}×{width}×{columns} {(together ? "together" : "one by one")}";
        return new(name, 2.0 * rows * width * columns, 4.0 * width * columns, () =>
        {
            Device device = Machine.Device;
            Tensor x = RandomData.Tensor(device, rows, width);
            Tensor cos = RandomData.Tensor(device, rows, size / 2), sin = RandomData.Tensor(device, rows, size / 2);
            var rotation = new HeadRotation(device.Upload<int>([.. Enumerable.Range(0, rows)], rows), cos, sin);
            MatMul[] products = [.. ((int[])[heads, groups, groups]).Select((count, i) => new MatMul
            {
                X = x,
                W = RandomData.Weight(device, width, count * size),
                Rotation = i < 2 && together ? rotation : default(HeadRotation?),
                Out = new Matrix(device.Allocate(ElementType.F32, rows, count, size), 0, rows, count * size, count * size),
            })];
            return together ? () => device.Run(products) : OneByOne;

            void OneByOne()
            {
                foreach (MatMul product in products)
                {
                    device.Run(product);
                }

                device.Run(rotation.Of(products[0].Out.Tensor));
                device.Run(rotation.Of(products[1].Out.Tensor));
            }
        });
    }

    private static OpCase Transposed(int rows, int inner, int columns) => new(
        $"MatMulTransposed {rows}×{columns}×{inner}", 2.0 * rows * inner * columns, 4.0 * inner * columns, () =>
        {
            Tensor x = RandomData.Tensor(Machine.Device, rows, columns), result = Machine.Device.Allocate(ElementType.F32, rows, inner);
            Weight[] weights = Weights(inner, columns, cold: rows <= 16);
            int turn = 0;
            return () => Machine.Device.Run(new MatMulTransposed { X = x, W = weights[turn++ % weights.Length], Out = result });
        });

    private static OpCase Embed(int tokens, int width, int vocabulary) => new(
        $"Embed {tokens}×{width}", 0, 4.0 * tokens * width, () =>
        {
            Tensor ids = Machine.Device.Upload<int>([.. Enumerable.Range(0, tokens).Select(i => i * 47)], tokens);
            Tensor result = Machine.Device.Allocate(ElementType.F32, tokens, width);
            Weight table = RandomData.Weight(Machine.Device, width, vocabulary);
            return () => Machine.Device.Run(new Embed { Ids = ids, Table = table, Out = result });
        });

    private static Weight[] Weights(int inner, int columns, bool cold, ElementType type = ElementType.F32)
    {
        long bytes = (long)type.Size() * inner * columns;
        float[] values = RandomData.Array((long)inner * columns, MathF.Sqrt(inner));
        int count = cold ? (int)Math.Max(1, ColdBytes / bytes) : 1;
        return [.. Enumerable.Range(0, count).Select(_ => RandomData.Weight(Machine.Device, inner, columns, values, type))];
    }
}
