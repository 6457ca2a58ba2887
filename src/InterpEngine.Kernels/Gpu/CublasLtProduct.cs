using InterpEngine.Kernels.Gpu.CublasLt;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
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
        Queue queue, Config config, Floats sums, long sumsStride, int rows, int columns, Floats bias, int activation,
        Floats multiply, long multiplyStride, Floats residual, long residualStride, Floats pre, long preStride, Floats delta,
        long deltaStride, Floats output, long outputStride);

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

    public void Run(in MatMul op, GpuWeight weight)
    {
        using Tensor? x = Operand(in op, weight.Type);
        long columns = (op.Out.Columns + 3L) / 4 * 4, first = op.ColumnStart * weight.Leading + op.InnerStart;
        var product = new LtProduct(
            TypeOf(weight), x?.Address ?? op.X.Address, x is null ? op.X.Stride : x.Bytes / op.X.Rows / weight.Type.Size(),
            weight.Address + (nint)(first * weight.Type.Size()), weight.Leading, op.Out.Address, op.Out.Stride,
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

    /// <summary>X rounded, or on aligned rows; null where it can be read as it is.</summary>
    private Tensor? Operand(in MatMul op, ElementType type)
    {
        if (type == ElementType.BF16)
        {
            return TensorRows.Round<BF16Tensor>(_device, op.X, type.Size());
        }

        if (TensorRows.AreAligned(op.X))
        {
            return null;
        }

        int stride = (op.X.Columns + 3) / 4 * 4;
        Tensor copy = _device.Allocate(ElementType.F32, op.X.Rows, stride);
        _device.Run(new Copy { From = op.X, To = new Matrix(copy, 0, op.X.Rows, op.X.Columns, stride) });
        return copy;
    }

    /// <summary>The whole op as one call of the library; null where it rounds otherwise or cannot.</summary>
    private LtProduct? Fused(in MatMul op, LtProduct product)
    {
        if (op.Multiply is not null || op.Pre is not null || op.Delta is not null || op.Activation != Activation.None)
        {
            return null;
        }

        product = product with { Bias = op.Bias?.Address ?? 0 };
        if (op.Residual is { } residual)
        {
            // Acc + residual rounds once, and so does (acc + bias) + residual by us, but not by the library.
            bool inPlace = residual.Address == op.Out.Address && residual.Stride == op.Out.Stride;
            return inPlace && product.Epilogue == LtEpilogue.None ? product with { Accumulate = true } : null;
        }

        return product.Bias % LtProducts.Alignment == 0 && _products.Fuses(product.Family, product.Epilogue) ? product : null;
    }

    private void Finish(in MatMul op, Tensor sums)
    {
        Kernel<FinishLauncher> finish = _device.Load<FinishLauncher>(Epilogue.Finish);
        long groups = ((long)op.Out.Rows * op.Out.Columns + finish.Threads - 1) / finish.Threads;
        finish.Launch(
            _device.Stream, (GpuDevice.Groups(groups), finish.Threads), _device.View<float>(sums), sums.Shape[1], op.Out.Rows,
            op.Out.Columns, _device.ViewOrEmpty(op.Bias), (int)op.Activation, _device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, _device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, _device.ViewOrEmpty(op.Pre),
            op.Pre?.Stride ?? 0, _device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, _device.View(op.Out), op.Out.Stride);
    }
}
