using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Rows of X as tensor cores read them: in chunks of 16 bytes.</summary>
/// <param name="device">Whose they are.</param>
/// <param name="rounded">Memory of their own, or null where X is read where it lies.</param>
/// <param name="address">The first chunk.</param>
/// <param name="stride">Chunks from one row to the next.</param>
/// <param name="rows">How many rows.</param>
/// <param name="chunks">Chunks of a row.</param>
internal sealed class TensorRows(GpuDevice device, Tensor? rounded, nint address, long stride, int rows, int chunks) : IDisposable
{
    public const int ChunkBytes = 16;

    public nint Address => address;

    public ArrayView<Bits4> View => device.Platform.View<Bits4>(address, (rows - 1) * stride + chunks);

    public long Stride => stride;

    public int Chunks => chunks;

    /// <summary>Chunks of a row of elements.</summary>
    public static int ChunksOf(int inner, int elementBytes) => (int)(((long)inner * elementBytes + ChunkBytes - 1) / ChunkBytes);

    /// <summary>Whether every row begins on a chunk's boundary.</summary>
    public static bool AreAligned(in Matrix x) =>
        x.Address % ChunkBytes == 0 && x.Stride % (ChunkBytes / x.Tensor.Type.Size()) == 0;

    /// <summary>X, F32 or BF16, as a format has it: as it is where it is already so, else rounded, with zeros at the end of rows.</summary>
    public static TensorRows Of<TFormat>(GpuDevice device, in Matrix x, ElementType type) where TFormat : struct, ITensorFormat
    {
        int chunks = ChunksOf(x.Columns, type.Size());
        if (x.Tensor.Type == ElementType.BF16 && type == ElementType.BF16 && AreAligned(x) && x.Columns % 8 == 0)
        {
            return new TensorRows(device, null, x.Address, x.Stride / 8, x.Rows, chunks);
        }

        using Tensor? wide = x.Tensor.Type == ElementType.BF16 ? device.Allocate(ElementType.F32, x.Rows, x.Columns) : null;
        if (wide is not null)
        {
            device.Run(new Copy { From = x, To = wide });
        }

        Matrix from = wide is null ? x : Matrix.From(wide);
        Tensor rounded = device.Allocate(ElementType.I32, x.Rows, chunks, 4);
        long count = (long)x.Rows * chunks;
        if (count > 0)
        {
            var round = device.Load<Action<Queue, Config, Floats, long, int, int, int, long, ArrayView<Bits4>>>(
                TensorRowKernels.Round<TFormat>);
            round.Launch(
                device.Stream, (GpuDevice.Groups((count + round.Threads - 1) / round.Threads), round.Threads), device.View(from),
                from.Stride, x.Columns, chunks, AreAligned(from) ? 1 : 0, count,
                device.Platform.View<Bits4>(rounded.Address, count));
        }

        return new TensorRows(device, rounded, rounded.Address, chunks, x.Rows, chunks);
    }

    /// <summary>Laid out as the instruction's A: I32 [tiles of 16 rows, blocks of 64 bytes, 64, 4].</summary>
    public Tensor Laid()
    {
        int tiles = (rows + TensorRowKernels.Rows - 1) / TensorRowKernels.Rows, blocks = (chunks + 3) / 4;
        Tensor laid = device.Allocate(ElementType.I32, tiles, blocks, TensorRowKernels.TileChunks, 4);
        long count = (long)tiles * blocks * 32;
        if (count > 0)
        {
            var lay = device.Load<Action<Queue, Config, ArrayView<Bits4>, long, int, int, int, long, ArrayView<Bits4>>>(
                TensorRowKernels.Lay);
            lay.Launch(
                device.Stream, (GpuDevice.Groups((count + lay.Threads - 1) / lay.Threads), lay.Threads), View, stride, rows, chunks,
                blocks, count, device.Platform.View<Bits4>(laid.Address, laid.Shape.Count / 4));
        }

        return laid;
    }

    /// <summary>The same for groups of rows: each of a table's tiles (<see cref="TensorProductKernels.Grouped"/>) begins anew.</summary>
    public Tensor Laid(Tensor table)
    {
        int tiles = table.Shape[0] * (TensorProductKernels.TileSide / TensorRowKernels.Rows), blocks = (chunks + 3) / 4;
        Tensor laid = device.Allocate(ElementType.I32, tiles, blocks, TensorRowKernels.TileChunks, 4);
        long count = (long)tiles * blocks * 32;
        if (count > 0)
        {
            var lay = device.Load<Action<Queue, Config, ArrayView<Bits4>, long, ArrayView<long>, int, int, long, ArrayView<Bits4>>>(
                TensorRowKernels.LayGroups);
            lay.Launch(
                device.Stream, (GpuDevice.Groups((count + lay.Threads - 1) / lay.Threads), lay.Threads), View, stride,
                device.View<long>(table), chunks, blocks, count, device.Platform.View<Bits4>(laid.Address, laid.Shape.Count / 4));
        }

        return laid;
    }

    public void Dispose() => rounded?.Dispose();
}
