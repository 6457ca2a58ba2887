using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Products on tensor cores by our own kernels: with BF16 weights, and with F32 weights where TF32 was asked
/// for.</summary>
internal sealed class TensorProduct(GpuDevice device, bool tf32) : IProduct
{
    private delegate void TileLauncher(
        Queue queue, Config config, ArrayView<Bits4> x, ArrayView<Bits4> w, long wStride, int rows, int innerBytes, int columns,
        int tilesDown, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual, long residualStride,
        Floats pre, long preStride, Floats delta, long deltaStride, Floats output, Halves narrow, long outputStride);

    private delegate void OneLauncher(
        Queue queue, Config config, ArrayView<Bits4> x, long xStride, int rows, int innerBytes, ArrayView<Bits4> w, long wStride,
        int columns, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual, long residualStride,
        Floats pre, long preStride, Floats delta, long deltaStride, Floats output, Halves narrow, long outputStride);

    private delegate void GroupedLauncher(
        Queue queue, Config config, ArrayView<Bits4> x, ArrayView<Bits4> memory, long wStride, ArrayView<long> table, int tilesDown, int innerBytes,
        int columns, Floats biases, int activation, Floats multiply, long multiplyStride, Floats output, long outputStride);

    private delegate void TogetherLauncher(
        Queue queue, Config config, ArrayView<Bits4> x, long xStride, int rows, int innerBytes, int count, int paired,
        ArrayView<Bits4> w0, long wStride0, int columns0, Floats bias0, int activation0, Floats multiply0, long multiplyStride0,
        Floats output0, Halves narrow0, long outputStride0,
        ArrayView<Bits4> w1, long wStride1, int columns1, Floats bias1, int activation1, Floats multiply1, long multiplyStride1,
        Floats output1, Halves narrow1, long outputStride1,
        ArrayView<Bits4> w2, long wStride2, int columns2, Floats bias2, int activation2, Floats multiply2, long multiplyStride2,
        Floats output2, Halves narrow2, long outputStride2);

    /// <summary>Whether an accelerator runs the kernels: it has warps of 32 threads, eight in a group.</summary>
    public static bool RunsOn(GpuPlatform platform) =>
        platform.Accelerator.WarpSize == 32 && platform.Accelerator.MaxNumThreadsPerGroup >= 256;

    public bool TakesNarrow => true;

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

    public bool Run(ReadOnlySpan<MatMul> products)
    {
        if (products[0].Out.Rows > FewRowsKernels.MostRows || products.Length > FewRowsKernels.MostProducts)
        {
            return false;
        }

        // Results of one of them may be read by a later one, element by element: then the same thread makes both.
        bool paired = false;
        foreach (ref readonly MatMul op in products)
        {
            if (op.Residual is not null || op.Delta is not null || op.Pre is not null)
            {
                return false;
            }

            paired |= op.Multiply is not null;
        }

        foreach (ref readonly MatMul op in products)
        {
            if (paired && op.Out.Columns != products[0].Out.Columns)
            {
                return false;
            }
        }

        if (products[0].W.Type == ElementType.BF16)
        {
            Together<BF16Tensor>(products, paired);
        }
        else
        {
            Together<TF32Tensor>(products, paired);
        }

        return true;
    }

    public bool Chooses(GpuWeight weight) => true;

    public bool Run(in GroupedMatMul op)
    {
        if (op.W.Weights[0].Type == ElementType.BF16)
        {
            Grouped<BF16Tensor>(in op);
        }
        else
        {
            Grouped<TF32Tensor>(in op);
        }

        return true;
    }

    public void Dispose()
    {
    }

    private void Run<TFormat>(in MatMul op, GpuWeight weight) where TFormat : struct, ITensorFormat
    {
        int rows = op.Out.Rows, inner = op.X.Columns, columns = op.Out.Columns, size = weight.Type.Size();
        (Floats output, Halves narrow) = device.Views(op.Out);
        using TensorRows x = TensorRows.Of<TFormat>(device, op.X, weight.Type);
        if (rows <= FewRowsKernels.MostRows)
        {
            Kernel<OneLauncher> few = device.Load<OneLauncher>(FewRowsKernels.One<TFormat>);
            few.Launch(
                device.Stream, Grid(DivideUp(columns, FewRowsKernels.Columns), few.Threads), x.View, x.Stride, rows, inner * size,
                Columns(in op, weight), Stride(weight), columns, device.ViewOrEmpty(op.Bias), (int)op.Activation,
                device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0, device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0,
                device.ViewOrEmpty(op.Pre), op.Pre?.Stride ?? 0, device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, output, narrow,
                op.Out.Stride);
            return;
        }

        using Tensor laid = x.Laid();
        Kernel<TileLauncher> tile = device.Load<TileLauncher>(TensorProductKernels.Tile<TFormat>);
        int tilesDown = DivideUp(rows, TensorProductKernels.TileSide);
        tile.Launch(
            device.Stream, (GpuDevice.Groups((long)tilesDown * DivideUp(columns, TensorProductKernels.TileSide)), tile.Threads),
            device.Platform.View<Bits4>(laid.Address, laid.Shape.Count / 4), Columns(in op, weight), Stride(weight), rows, inner * size,
            columns, tilesDown, device.ViewOrEmpty(op.Bias), (int)op.Activation, device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre),
            op.Pre?.Stride ?? 0, device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, output, narrow, op.Out.Stride);
    }

    private void Together<TFormat>(ReadOnlySpan<MatMul> products, bool paired) where TFormat : struct, ITensorFormat
    {
        MatMul a = products[0], b = products[^1], c = products[^1];
        if (products.Length == 3)
        {
            b = products[1];
        }

        GpuWeight aWeight = device.Own(a.W), bWeight = device.Own(b.W), cWeight = device.Own(c.W);
        using TensorRows x = TensorRows.Of<TFormat>(device, a.X, aWeight.Type);
        (Floats aOut, Halves aNarrow) = device.Views(a.Out);
        (Floats bOut, Halves bNarrow) = device.Views(b.Out);
        (Floats cOut, Halves cNarrow) = device.Views(c.Out);
        int items = 0;
        foreach (ref readonly MatMul op in products)
        {
            items = (paired ? 0 : items) + DivideUp(op.Out.Columns, FewRowsKernels.Columns);
        }

        Kernel<TogetherLauncher> together = device.Load<TogetherLauncher>(FewRowsKernels.Together<TFormat>);
        together.Launch(
            device.Stream, Grid(items, together.Threads), x.View, x.Stride, a.Out.Rows, a.X.Columns * aWeight.Type.Size(),
            products.Length, paired ? 1 : 0,
            Columns(in a, aWeight), Stride(aWeight), a.Out.Columns, device.ViewOrEmpty(a.Bias), (int)a.Activation,
            device.ViewOrEmpty(a.Multiply), a.Multiply?.Stride ?? 0, aOut, aNarrow, a.Out.Stride,
            Columns(in b, bWeight), Stride(bWeight), b.Out.Columns, device.ViewOrEmpty(b.Bias), (int)b.Activation,
            device.ViewOrEmpty(b.Multiply), b.Multiply?.Stride ?? 0, bOut, bNarrow, b.Out.Stride,
            Columns(in c, cWeight), Stride(cWeight), c.Out.Columns, device.ViewOrEmpty(c.Bias), (int)c.Activation,
            device.ViewOrEmpty(c.Multiply), c.Multiply?.Stride ?? 0, cOut, cNarrow, c.Out.Stride);
    }

    private void Grouped<TFormat>(in GroupedMatMul op) where TFormat : struct, ITensorFormat
    {
        GpuWeight first = device.Own(op.W.Weights[0]);
        int columns = op.Out.Columns, inner = op.X.Columns, size = first.Type.Size();
        using Tensor table = op.Choice is { } choice ? TilesOf(choice, op.W.Addresses!) : TilesOf(op);
        using TensorRows x = TensorRows.Of<TFormat>(device, op.X, first.Type);
        using Tensor laid = x.Laid(table);
        Kernel<GroupedLauncher> kernel = device.Load<GroupedLauncher>(TensorProductKernels.Grouped<TFormat>);
        int tilesDown = table.Shape[0];
        kernel.Launch(
            device.Stream, (GpuDevice.Groups((long)tilesDown * DivideUp(columns, TensorProductKernels.TileSide)), kernel.Threads),
            device.Platform.View<Bits4>(laid.Address, laid.Shape.Count / 4), device.Platform.View<Bits4>(0, long.MaxValue / 16), Stride(first),
            device.View<long>(table), tilesDown, inner * size, columns, device.Platform.View<float>(0, long.MaxValue / 16), (int)op.Activation,
            device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
    }

    /// <summary>The tiles of groups of rows.</summary>
    private Tensor TilesOf(GroupedMatMul op)
    {
        var tiles = new List<long>();
        for (int group = 0; group < op.W.Weights.Count; group++)
        {
            int end = op.Starts.Span[group + 1];
            for (int row = op.Starts.Span[group]; row < end; row += TensorProductKernels.TileSide)
            {
                nint weight = device.Own(op.W.Weights[group]).Address;
                tiles.AddRange([row, end, weight / TensorRows.ChunkBytes, op.W.Biases is { } biases ? biases[group].Address / sizeof(float) : -1]);
            }
        }

        return device.Upload<long>(tiles.ToArray(), tiles.Count / TensorProductKernels.TableLength, TensorProductKernels.TableLength);
    }

    /// <summary>A tile for each row, with the weight that it chose.</summary>
    private Tensor TilesOf(Tensor choice, Tensor addresses)
    {
        int rows = (int)choice.Shape.Count;
        Tensor table = device.Allocate(ElementType.I64, rows, TensorProductKernels.TableLength);
        var choose = device.Load<Action<Queue, Config, ArrayView<int>, int, ArrayView<long>, int, ArrayView<long>, ArrayView<int>>>(
            TensorProductKernels.Choose);
        choose.Launch(
            device.Stream, (GpuDevice.Blocks(rows, choose.Threads), choose.Threads), device.View<int>(choice), rows, device.View<long>(addresses),
            addresses.Shape[0], device.View<long>(table), device.Faults);
        return table;
    }

    /// <summary>The rectangle of a weight that a product reads, in chunks.</summary>
    private ArrayView<Bits4> Columns(in MatMul op, GpuWeight weight)
    {
        int size = weight.Type.Size();
        nint address = weight.Address + (nint)((op.ColumnStart * weight.Leading + op.InnerStart) * size);
        return device.Platform.View<Bits4>(address, (op.Out.Columns - 1) * Stride(weight) + TensorRows.ChunksOf(op.X.Columns, size));
    }

    private static long Stride(GpuWeight weight) => weight.Leading * weight.Type.Size() / TensorRows.ChunkBytes;

    /// <summary>Groups that stay: as many as fit on the multiprocessors, if there is work for them.</summary>
    private Config Grid(int items, int threads)
    {
        int most = FewRowsKernels.GroupsAtOnce * device.Platform.Accelerator.NumMultiprocessors;
        return new Config(Math.Min(items, most), threads, SharedMemoryConfig.RequestDynamic<byte>(FewRowsKernels.SharedBytes));
    }

    private static int DivideUp(int a, int b) => (a + b - 1) / b;
}
