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
        MlpIn(1024, 768, 3072), Transposed(1, 768, 3072), Transposed(1024, 768, 3072), Embed(1024, 768, 50257),
    ];

    private static OpCase MatMul(int rows, int inner, int columns) => new(
        $"MatMul {rows}×{inner}×{columns}", 2.0 * rows * inner * columns, 4.0 * inner * columns, () =>
        {
            Tensor x = RandomData.Tensor(Machine.Device, rows, inner), result = Machine.Device.Allocate(ElementType.F32, rows, columns);
            Weight[] weights = Weights(inner, columns, cold: rows <= 16);
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

    private static Weight[] Weights(int inner, int columns, bool cold)
    {
        long bytes = 4L * inner * columns;
        float[] values = RandomData.Array((long)inner * columns, MathF.Sqrt(inner));
        int count = cold ? (int)Math.Max(1, ColdBytes / bytes) : 1;
        return [.. Enumerable.Range(0, count).Select(_ => RandomData.Weight(Machine.Device, inner, columns, values))];
    }
}
