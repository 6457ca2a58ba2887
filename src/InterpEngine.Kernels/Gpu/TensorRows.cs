using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Rows of X as tensor cores read them: rounded, each in whole chunks of 16 bytes.</summary>
internal static class TensorRows
{
    public const int ChunkBytes = 16;

    /// <summary>Chunks of a row of elements.</summary>
    public static int Chunks(int inner, int elementBytes) => (int)(((long)inner * elementBytes + ChunkBytes - 1) / ChunkBytes);

    /// <summary>Whether every row begins on a chunk's boundary.</summary>
    public static bool AreAligned(in Matrix x) => x.Address % ChunkBytes == 0 && x.Stride % 4 == 0;

    /// <summary>I32 [rows, chunks, 4] with the bits of X rounded to a format, zeros at the end of each row.</summary>
    public static Tensor Round<TFormat>(GpuDevice device, in Matrix x, int elementBytes) where TFormat : struct, ITensorFormat
    {
        int chunks = Chunks(x.Columns, elementBytes);
        Tensor rounded = device.Allocate(ElementType.I32, x.Rows, chunks, 4);
        long count = (long)x.Rows * chunks;
        if (count > 0)
        {
            var round = device.Load<Action<Queue, Config, ArrayView<float>, long, int, int, int, int, ArrayView<Bits4>>>(
                TensorProductKernels.Round<TFormat>);
            round.Launch(
                device.Stream, (GpuDevice.Groups((count + round.Threads - 1) / round.Threads), round.Threads),
                device.View(x), x.Stride, x.Rows, x.Columns, chunks, AreAligned(x) ? 1 : 0,
                device.Platform.View<Bits4>(rounded.Address, count));
        }

        return rounded;
    }
}
