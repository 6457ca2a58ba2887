using InterpEngine.Kernels;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = InterpEngine.Kernels.Tensor;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Matrix products against libtorch's linear layer and against the machine's peaks.</summary>
internal static class ProductComparisons
{
    /// <summary>One-row products go round weights of this size, so that each comes from memory.</summary>
    private const long ColdBytes = 512L << 20;

    private static readonly (int Rows, int Inner, int Columns)[] Large =
        [(128, 768, 768), (1024, 3072, 768), (1024, 768, 3072), (1024, 768, 24576), (1024, 24576, 768)];

    private static readonly (int Rows, int Inner, int Columns)[] OneRow = [(1, 768, 768), (1, 768, 3072), (1, 3072, 768), (1, 768, 50257)];

    public static void Run(Session session)
    {
        foreach ((int rows, int inner, int columns) in Large)
        {
            Compare(session, rows, inner, columns, ElementType.F32);
            Compare(session, rows, inner, columns, ElementType.BF16);
            Compare(session, rows, inner, columns, ElementType.I8);
        }

        foreach ((int rows, int inner, int columns) in OneRow)
        {
            Compare(session, rows, inner, columns, ElementType.F32);
            Compare(session, rows, inner, columns, ElementType.BF16);
            Compare(session, rows, inner, columns, ElementType.I8);
        }
    }

    private static void Compare(Session session, int rows, int inner, int columns, ElementType kept)
    {
        ScalarType type = kept == ElementType.F32 ? ScalarType.Float32 : ScalarType.BFloat16;
        long bytes = kept switch { ElementType.F32 => 64L, ElementType.BF16 => 32, _ => 18 } * inner * columns / 16;
        int count = rows == 1 ? (int)(ColdBytes / bytes) : 1;
        float[] values = RandomData.Array((long)inner * columns, MathF.Sqrt(inner)), inputs = RandomData.Array((long)rows * inner);
        using Tensor x = session.Device.Upload<float>(inputs, rows, inner);
        using Tensor result = session.Device.Allocate(ElementType.F32, rows, columns);
        Weight[] weights = [.. Enumerable.Range(0, count).Select(_ => RandomData.Weight(session.Device, inner, columns, values, kept))];
        using torch.Tensor torchX = tensor(inputs, [rows, inner]).to(type);
        torch.Tensor[] torchWeights = [.. Enumerable.Range(0, count).Select(_ => TorchWeight(values, inner, columns, type))];
        int turn = 0, torchTurn = 0;
        session.Measure(new Comparison(
            $"{(kept == ElementType.F32 ? "fp32" : kept == ElementType.BF16 ? "BF16" : "INT8")} product {rows}×{inner}×{columns}",
            kept == ElementType.F32 ? "libtorch linear" : "libtorch linear, BF16",
            rows == 1 || kept == ElementType.I8 ? null : kept == ElementType.BF16 ? 1.2 : 1.5,
            () => session.Device.Run(new MatMul { X = x, W = weights[turn++ % count], Out = result }),
            () =>
            {
                using IDisposable mode = inference_mode(true);
                F.linear(torchX, torchWeights[torchTurn++ % count], null!).Dispose();
            })
        {
            OfPeak = rows > 1 && kept == ElementType.F32 ? (2.0 * rows * inner * columns, 0.85) : null,
            OfBf16Peak = rows > 1 && kept == ElementType.BF16 ? (2.0 * rows * inner * columns, 0.75) : null,
            OfBandwidth = rows == 1 ? (bytes, 0.8) : null,
        });
        foreach (IDisposable weight in weights.Concat<IDisposable>(torchWeights))
        {
            weight.Dispose();
        }
    }

    private static torch.Tensor TorchWeight(float[] values, int inner, int columns, ScalarType type)
    {
        using torch.Tensor stored = tensor(values, [inner, columns]);
        using torch.Tensor oriented = stored.t();
        using torch.Tensor typed = oriented.to(type);
        return typed.contiguous();
    }
}
