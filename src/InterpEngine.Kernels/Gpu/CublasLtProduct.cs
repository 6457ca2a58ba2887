using InterpEngine.Kernels.Gpu.CublasLt;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Products through NVIDIA's cuBLASLt, the fastest for many rows. What follows the sum is done in the same pass where the library
/// rounds as the op's contract says, and by a kernel of ours else.
/// </summary>
internal sealed class CublasLtProduct : IProduct
{
    private readonly GpuDevice _device;
    private readonly CudaPlatform _platform;
    private readonly bool _tf32;
    private readonly nint _workspace;
    private readonly LtProducts _products;
    private readonly Lock _turn = new();

    private delegate void FinishLauncher(
        Queue queue, Config config, Floats sums, long sumsStride, int columns, int blocks, Floats bias, int activation,
        Floats multiply, long multiplyStride, Floats residual, long residualStride, Floats pre, long preStride, Floats delta,
        long deltaStride, Floats output, Halves narrow, long outputStride);

    private CublasLtProduct(GpuDevice device, CudaPlatform platform, CublasLtApi api, bool tf32)
    {
        (_device, _platform, _tf32) = (device, platform, tf32);
        platform.Accelerator.Bind();
        _workspace = device.AllocateMemory(LtProducts.WorkspaceBytes);
        try
        {
            _products = new LtProducts(api, _workspace);
        }
        catch (CublasLtException)
        {
            device.FreeMemory(_workspace, LtProducts.WorkspaceBytes);
            throw;
        }
    }

    /// <summary>Opens the newest library that is installed and starts on this GPU: one may be too new for its driver.</summary>
    /// <param name="device">An NVIDIA GPU.</param>
    /// <param name="platform">Its platform.</param>
    /// <param name="tf32">Whether operands of products with F32 weights are rounded to TF32.</param>
    /// <param name="defect">Why there is none.</param>
    /// <returns>Null where there is none.</returns>
    public static CublasLtProduct? Open(GpuDevice device, CudaPlatform platform, bool tf32, out string? defect)
    {
        defect = CublasLtApi.Defect;
        foreach (string name in CublasLtApi.Names(OperatingSystem.IsWindows()))
        {
            if (CublasLtApi.Load([name]).Api is not { } api)
            {
                continue;
            }

            try
            {
                return new CublasLtProduct(device, platform, api, tf32);
            }
            catch (CublasLtException e)
            {
                defect = $"{name}: {e.Message}";
            }
        }

        return null;
    }

    public bool Accepts(GpuWeight weight, int inner, int columns, int innerStart, int columnStart)
    {
        if (weight.Type == ElementType.I8 || inner == 0 || innerStart * weight.Type.Size() % LtProducts.Alignment != 0)
        {
            return false;
        }

        lock (_turn)
        {
            _platform.Accelerator.Bind();
            return _products.Serves(FamilyOf(weight, inner, columns));
        }
    }

    public bool TakesNarrow => true;

    public void Run(in MatMul op, GpuWeight weight)
    {
        if (weight.Type == ElementType.BF16)
        {
            using TensorRows rows = TensorRows.Of<BF16Tensor>(_device, op.X, weight.Type);
            Run(in op, weight, rows.Address, rows.Stride * (TensorRows.ChunkBytes / 2));
        }
        else if (op.X.Tensor.Type == ElementType.F32 && TensorRows.AreAligned(op.X))
        {
            Run(in op, weight, op.X.Address, op.X.Stride);
        }
        else
        {
            int stride = (op.X.Columns + 3) / 4 * 4;
            using Tensor copy = _device.Allocate(ElementType.F32, op.X.Rows, stride);
            _device.Run(new Copy { From = op.X, To = new Matrix(copy, 0, op.X.Rows, op.X.Columns, stride) });
            Run(in op, weight, copy.Address, stride);
        }
    }

    public bool Run(ReadOnlySpan<MatMul> products)
    {
        if (products[0].W.Type != ElementType.BF16)
        {
            return false;
        }

        using TensorRows rows = TensorRows.Of<BF16Tensor>(_device, products[0].X, ElementType.BF16);
        foreach (ref readonly MatMul op in products)
        {
            Run(in op, _device.Own(op.W), rows.Address, rows.Stride * (TensorRows.ChunkBytes / 2));
        }

        return true;
    }

    /// <param name="op">The product.</param>
    /// <param name="weight">Its weight.</param>
    /// <param name="x">Where X lies in the weight's type, on aligned rows.</param>
    /// <param name="xStride">Elements from one of them to the next.</param>
    private void Run(in MatMul op, GpuWeight weight, nint x, long xStride)
    {
        int columns = op.Out.Columns;
        long first = op.ColumnStart * weight.Leading + op.InnerStart;
        lock (_turn)
        {
            _platform.Accelerator.Bind();
            LtFamily family = FamilyOf(weight, op.X.Columns, columns);
            var product = new LtProduct(
                family, x, xStride, weight.Address + (nint)(first * weight.Type.Size()), op.Out.Address, op.Out.Stride, op.Out.Rows, columns);
            if (TensorRows.AreAligned(op.Out) && Fused(in op, product) is { } fused)
            {
                _products.Run(fused, _platform.StreamHandle);
                return;
            }

            // Sums wait in the GPU's cache for the kernel that finishes them, in parts if they are many.
            int atOnce = _device.ColumnsAtOnce(op.Out.Rows);
            atOnce = atOnce < columns && _products.Takes(family, atOnce) && _products.Takes(family, columns % atOnce) ? atOnce : columns;
            int stride = (Math.Min(atOnce, columns) + 3) / 4 * 4;
            using Tensor sums = _device.Allocate(ElementType.F32, op.Out.Rows, stride);
            for (int column = 0; column < columns; column += atOnce)
            {
                int count = Math.Min(atOnce, columns - column);
                product = product with { Out = sums.Address, OutStride = stride, Columns = count };
                _products.Run(product, _platform.StreamHandle);
                Finish(in op, sums, column, count);
                product = product with { W = product.W + (nint)(count * weight.Leading * weight.Type.Size()) };
            }
        }
    }

    public void Dispose()
    {
        _products.Dispose();
        _device.FreeMemory(_workspace, LtProducts.WorkspaceBytes);
    }

    /// <summary>A rectangle's family is its weight's, if that takes so few columns: then its elements have the same bits as in the whole
    /// product.</summary>
    private LtFamily FamilyOf(GpuWeight weight, int inner, int columns)
    {
        var family = new LtFamily(TypeOf(weight), inner, weight.Columns, weight.Leading);
        return columns == weight.Columns || (_products.Serves(family) && _products.Takes(family, columns))
            ? family
            : family with { Columns = columns };
    }

    private ProductType TypeOf(GpuWeight weight) =>
        weight.Type == ElementType.BF16 ? ProductType.BFloat16 : _tf32 ? ProductType.Tf32 : ProductType.Float32;

    /// <summary>The whole op as one call of the library; null where it rounds otherwise or cannot.</summary>
    private LtProduct? Fused(in MatMul op, LtProduct product)
    {
        if ((op.Multiply ?? op.Pre ?? op.Delta) is not null || op.Activation != Activation.None || op.Out.Tensor.Type != ElementType.F32)
        {
            return null;
        }

        product = product with { Bias = op.Bias?.Address ?? 0 };
        if (op.Residual is { } residual)
        {
            // Acc + residual rounds once, and so does (acc + bias) + residual by us, but not by the library.
            return product.Epilogue == LtEpilogue.None && TensorRows.AreAligned(residual)
                ? product with { Added = residual.Address, AddedStride = residual.Stride }
                : null;
        }

        return product.Bias % LtProducts.Alignment == 0 && _products.Fuses(product.Family, product.Epilogue) ? product : null;
    }

    /// <summary>What follows the sums of some of the columns.</summary>
    private void Finish(in MatMul op, Tensor sums, int column, int columns)
    {
        Matrix? multiply = op.Multiply?.Slice(column, columns), residual = op.Residual?.Slice(column, columns);
        Matrix? pre = op.Pre?.Slice(column, columns), delta = op.Delta?.Slice(column, columns);
        Matrix to = op.Out.Slice(column, columns);
        bool aligned = GpuDevice.AreAligned(op.Bias) && column % 4 == 0
            && GpuDevice.IsAligned(columns, sums, multiply, residual, pre, delta, to);
        Kernel<FinishLauncher> finish = _device.Load<FinishLauncher>(aligned ? Epilogue.Finish<AtOnce> : Epilogue.Finish<OneByOne>);
        int blocks = GpuDevice.Blocks(columns, finish.Threads, each: 4);
        (Floats output, Halves narrow) = _device.Views(to);
        finish.Launch(
            _device.Stream, (GpuDevice.Groups((long)to.Rows * blocks), finish.Threads), _device.View<float>(sums), sums.Shape[1],
            columns, blocks, op.Bias is null ? default : _device.View<float>(op.Bias).SubView(column, columns), (int)op.Activation,
            _device.ViewOrEmpty(multiply), op.Multiply?.Stride ?? 0, _device.ViewOrEmpty(residual), op.Residual?.Stride ?? 0,
            _device.ViewOrEmpty(pre), op.Pre?.Stride ?? 0, _device.ViewOrEmpty(delta), op.Delta?.Stride ?? 0, output, narrow,
            op.Out.Stride);
    }
}
