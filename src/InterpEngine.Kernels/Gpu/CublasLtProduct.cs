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
            return _products.Serves(new LtFamily(TypeOf(weight), inner, columns, weight.Leading));
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
        long columns = (op.Out.Columns + 3L) / 4 * 4, first = op.ColumnStart * weight.Leading + op.InnerStart;
        var product = new LtProduct(
            TypeOf(weight), x, xStride, weight.Address + (nint)(first * weight.Type.Size()), weight.Leading, op.Out.Address, op.Out.Stride,
            op.Out.Rows, op.X.Columns, op.Out.Columns);
        lock (_turn)
        {
            _platform.Accelerator.Bind();
            if (TensorRows.AreAligned(op.Out) && Fused(in op, product) is { } fused)
            {
                _products.Run(fused, _platform.StreamHandle);
                return;
            }

            using Tensor sums = _device.Allocate(ElementType.F32, op.Out.Rows, (int)columns);
            _products.Run(product with { Out = sums.Address, OutStride = columns }, _platform.StreamHandle);
            Finish(in op, sums);
        }
    }

    public void Dispose()
    {
        _products.Dispose();
        _device.FreeMemory(_workspace, LtProducts.WorkspaceBytes);
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

    private void Finish(in MatMul op, Tensor sums)
    {
        bool aligned = GpuDevice.AreAligned(op.Bias)
            && GpuDevice.IsAligned(op.Out.Columns, sums, op.Multiply, op.Residual, op.Pre, op.Delta, op.Out);
        Kernel<FinishLauncher> finish = _device.Load<FinishLauncher>(aligned ? Epilogue.Finish<AtOnce> : Epilogue.Finish<OneByOne>);
        int blocks = GpuDevice.Blocks(op.Out.Columns, finish.Threads, each: 4);
        (Floats output, Halves narrow) = _device.Views(op.Out);
        finish.Launch(
            _device.Stream, (GpuDevice.Groups((long)op.Out.Rows * blocks), finish.Threads), _device.View<float>(sums), sums.Shape[1],
            op.Out.Columns, blocks, _device.ViewOrEmpty(op.Bias), (int)op.Activation, _device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, _device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, _device.ViewOrEmpty(op.Pre),
            op.Pre?.Stride ?? 0, _device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, output, narrow, op.Out.Stride);
    }
}
