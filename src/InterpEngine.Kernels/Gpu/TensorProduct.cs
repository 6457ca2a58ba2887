using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Products on tensor cores by our own kernels: with BF16 weights, and with F32 weights where TF32 was asked
/// for.</summary>
internal sealed class TensorProduct(GpuDevice device, bool tf32) : IProduct
{
    /// <summary>Up to here rows are made eight at a time, straight from memory.</summary>
    private const int FewRows = 16;

    private delegate void TileLauncher(
        Queue queue, Config config, ArrayView<Bits4> x, long xStride, ArrayView<Bits4> w, long wStride, int rows, int innerBytes,
        int columns, int tilesDown, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual,
        long residualStride, Floats pre, long preStride, Floats delta, long deltaStride, Floats output, long outputStride);

    private delegate void FewRowsLauncher(
        Queue queue, Config config, Floats x, long xStride, ArrayView<Bits4> w, long wStride, int rows, int inner, int innerBytes,
        int columns, int groupsAcross, int aligned, Floats bias, int activation, Floats multiply, long multiplyStride,
        Floats residual, long residualStride, Floats pre, long preStride, Floats delta, long deltaStride, Floats output,
        long outputStride);

    /// <summary>Whether an accelerator runs the kernels: it has warps of 32 threads, four in a group.</summary>
    public static bool RunsOn(GpuPlatform platform) =>
        platform.Accelerator.WarpSize == 32 && platform.Accelerator.MaxNumThreadsPerGroup >= 128;

    public bool Accepts(GpuWeight weight, int inner, int columns, int innerStart, int columnStart) =>
        (weight.Type == ElementType.BF16 || (tf32 && weight.Type == ElementType.F32))
        && innerStart * weight.Type.Size() % TensorRows.ChunkBytes == 0;

    public void Run(in MatMul op, GpuWeight weight)
    {
        if (weight.Type == ElementType.BF16)
        {
            Run<BF16Tensor>(in op, weight);
        }
        else
        {
            Run<TF32Tensor>(in op, weight);
        }
    }

    public void Dispose()
    {
    }

    private void Run<TFormat>(in MatMul op, GpuWeight weight) where TFormat : struct, ITensorFormat
    {
        int rows = op.Out.Rows, inner = op.X.Columns, columns = op.Out.Columns, size = weight.Type.Size();
        long stride = weight.Leading * size / TensorRows.ChunkBytes;
        nint address = weight.Address + (nint)((op.ColumnStart * weight.Leading + op.InnerStart) * size);
        int chunks = TensorRows.Chunks(inner, size);
        ArrayView<Bits4> w = device.Platform.View<Bits4>(address, (columns - 1) * stride + chunks);
        if (rows <= FewRows)
        {
            Kernel<FewRowsLauncher> few = device.Load<FewRowsLauncher>(TensorProductKernels.FewRows<TFormat>);
            int across = DivideUp(columns, TensorProductKernels.FewColumns);
            few.Launch(
                device.Stream, (GpuDevice.Groups((long)across * DivideUp(rows, TensorProductKernels.Few)), few.Threads),
                device.View(op.X), op.X.Stride, w, stride, rows, inner, inner * size, columns, across,
                TensorRows.AreAligned(op.X) ? 1 : 0, device.ViewOrEmpty(op.Bias), (int)op.Activation,
                device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0, device.ViewOrEmpty(op.Residual),
                op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre), op.Pre?.Stride ?? 0, device.ViewOrEmpty(op.Delta),
                op.Delta?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
            return;
        }

        using Tensor rounded = TensorRows.Round<TFormat>(device, op.X, size);
        Kernel<TileLauncher> tile = device.Load<TileLauncher>(TensorProductKernels.Tile<TFormat>);
        int tilesDown = DivideUp(rows, TensorProductKernels.TileRows);
        tile.Launch(
            device.Stream, (GpuDevice.Groups((long)tilesDown * DivideUp(columns, TensorProductKernels.TileColumns)),
            tile.Threads), device.Platform.View<Bits4>(rounded.Address, (long)rows * chunks), chunks, w, stride, rows,
            inner * size, columns, tilesDown, device.ViewOrEmpty(op.Bias), (int)op.Activation, device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre),
            op.Pre?.Stride ?? 0, device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
    }

    private static int DivideUp(int a, int b) => (a + b - 1) / b;
}
