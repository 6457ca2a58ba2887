using ILGPU;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Products on ordinary cores: of every type and shape, on every accelerator.</summary>
internal sealed class PlainProduct(GpuDevice device) : IProduct
{
    /// <summary>Up to here rows are made four at a time, since a tile would be mostly empty.</summary>
    private const int FewRows = 8;

    private delegate void TileLauncher<T>(
        Queue queue, Config config, Floats x, long xStride, ArrayView<T> w, long leading, int rows, int inner, int columns, int side,
        int tilesAcross, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual, long residualStride,
        Floats pre, long preStride, Floats delta, long deltaStride, Floats output, long outputStride)
        where T : unmanaged;

    private delegate void FewRowsLauncher<T>(
        Queue queue, Config config, Floats x, long xStride, ArrayView<T> w, long leading, int rows, int inner, int columns, int lanes,
        int groupsAcross, int aligned, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual,
        long residualStride, Floats pre, long preStride, Floats delta, long deltaStride, Floats output, long outputStride)
        where T : unmanaged;

    private delegate void IntegerLauncher(
        Queue queue, Config config, Ints x, Floats xScales, Ints w, Floats wScales, int rows, int columns, int groups, int weightGroups,
        int groupsAcross, Floats bias, int activation, Floats multiply, long multiplyStride, Floats residual, long residualStride,
        Floats pre, long preStride, Floats delta, long deltaStride, Floats output, long outputStride);

    private delegate void ChosenLauncher<T>(
        Queue queue, Config config, Floats x, long xStride, Ints choice, ArrayView<long> addresses, int weights, ArrayView<T> memory,
        int elementBytes, long leading, int inner, int columns, int lanes, int groupsAcross, Floats biases, int activation, Floats multiply,
        long multiplyStride, Floats output, long outputStride, Ints faults)
        where T : unmanaged;

    private delegate void ChosenIntegersLauncher(
        Queue queue, Config config, Ints x, Floats xScales, Ints choice, ArrayView<long> addresses, int weights, Ints memory, Floats floats,
        int columns, int groups, int weightGroups, int groupsAcross, int activation, Floats multiply, long multiplyStride, Floats output,
        long outputStride, Ints faults);

    public bool TakesNarrow => false;

    public bool Accepts(GpuWeight weight, int inner, int columns, int innerStart, int columnStart) => true;

    public void Run(in MatMul op, GpuWeight weight)
    {
        switch (weight.Type)
        {
            case ElementType.F32:
                Elements<float, F32Format>(in op, weight);
                break;
            case ElementType.BF16:
                Elements<ushort, BF16Format>(in op, weight);
                break;
            default:
                Integers(in op, weight);
                break;
        }
    }

    public bool Chooses(GpuWeight weight) => true;

    public bool Run(in GroupedMatMul op)
    {
        if (op.Choice is null)
        {
            return false; // one product after the other is as good
        }

        switch (op.W.Weights[0].Type)
        {
            case ElementType.F32:
                Chosen<float, F32Format>(in op, op.Choice);
                break;
            case ElementType.BF16:
                Chosen<ushort, BF16Format>(in op, op.Choice);
                break;
            default:
                ChosenIntegers(in op, op.Choice);
                break;
        }

        return true;
    }

    public void Dispose()
    {
    }

    private void Elements<T, TFormat>(in MatMul op, GpuWeight weight)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        int rows = op.Out.Rows, inner = op.X.Columns, columns = op.Out.Columns;
        long first = op.ColumnStart * weight.Leading + op.InnerStart;
        nint address = weight.Address + (nint)(first * weight.Type.Size());
        ArrayView<T> w = device.Platform.View<T>(address, (columns - 1) * weight.Leading + inner);
        if (rows <= FewRows)
        {
            Kernel<FewRowsLauncher<T>> few = device.Load<FewRowsLauncher<T>>(ProductKernels.FewRows<T, TFormat>);
            int lanes = Side(few.Threads), across = DivideUp(columns, lanes), aligned = op.InnerStart % 4 == 0 ? 1 : 0;
            few.Launch(
                device.Stream, (GpuDevice.Groups((long)across * DivideUp(rows, ProductKernels.Few)), lanes * lanes),
                device.View(op.X), op.X.Stride, w, weight.Leading, rows, inner, columns, lanes, across, aligned,
                device.ViewOrEmpty(op.Bias), (int)op.Activation, device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0,
                device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre), op.Pre?.Stride ?? 0,
                device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
            return;
        }

        Kernel<TileLauncher<T>> tile = device.Load<TileLauncher<T>>(ProductKernels.Tile<T, TFormat>);
        int side = Side(tile.Threads), tilesAcross = DivideUp(columns, 4 * side);
        tile.Launch(
            device.Stream, (GpuDevice.Groups((long)tilesAcross * DivideUp(rows, 4 * side)), side * side),
            device.View(op.X), op.X.Stride, w, weight.Leading, rows, inner, columns, side, tilesAcross,
            device.ViewOrEmpty(op.Bias), (int)op.Activation, device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0,
            device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre), op.Pre?.Stride ?? 0,
            device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
    }

    private void Integers(in MatMul op, GpuWeight weight)
    {
        const int groupSize = Weight.GroupSize;
        int rows = op.Out.Rows, columns = op.Out.Columns, before = op.InnerStart % groupSize, weightGroups = (int)(weight.Leading / groupSize);
        using Tensor integers = Rounded(op.X, before, out Tensor rounding);
        using Tensor scales = rounding;
        int groups = integers.Shape[1];
        long firstGroup = op.ColumnStart * (long)weightGroups + op.InnerStart / groupSize;
        long last = groups == 0 ? 0 : (columns - 1) * (long)weightGroups + groups;
        Kernel<IntegerLauncher> kernel = device.Load<IntegerLauncher>(IntegerProductKernels.Multiply);
        int across = DivideUp(columns, kernel.Threads);
        kernel.Launch(
            device.Stream, (GpuDevice.Groups((long)across * DivideUp(rows, IntegerProductKernels.Rows)), kernel.Threads),
            device.Platform.View<int>(integers.Address, integers.Bytes / 4), device.View<float>(scales),
            device.Platform.View<int>(weight.Address + (nint)(firstGroup * groupSize), last * groupSize / 4),
            device.Platform.View<float>(weight.Scales + (nint)(firstGroup * 4), last),
            rows, columns, groups, weightGroups, across,
            device.ViewOrEmpty(op.Bias), (int)op.Activation, device.ViewOrEmpty(op.Multiply), op.Multiply?.Stride ?? 0,
            device.ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, device.ViewOrEmpty(op.Pre), op.Pre?.Stride ?? 0,
            device.ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, device.View(op.Out), op.Out.Stride);
    }

    /// <summary>X in integers, I8 [rows, groups, 32], and the scales of its groups, [rows, groups].</summary>
    private Tensor Rounded(in Matrix x, int before, out Tensor scales)
    {
        const int groupSize = Weight.GroupSize;
        int groups = x.Columns == 0 ? 0 : DivideUp(before + x.Columns, groupSize);
        Tensor integers = device.Allocate(ElementType.I8, x.Rows, groups, groupSize);
        scales = device.Allocate(ElementType.F32, x.Rows, groups);
        if (groups > 0)
        {
            var quantize = device.Load<Action<Queue, Config, Floats, long, int, int, int, int, ArrayView<sbyte>, Floats>>(
                IntegerProductKernels.Quantize);
            quantize.Launch(
                device.Stream, (GpuDevice.Groups(((long)x.Rows * groups + quantize.Threads - 1) / quantize.Threads), quantize.Threads),
                device.View(x), x.Stride, x.Rows, x.Columns, before, groups, device.View<sbyte>(integers), device.View<float>(scales));
        }

        return integers;
    }

    private void Chosen<T, TFormat>(in GroupedMatMul op, Tensor choice)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        GpuWeight first = device.Own(op.W.Weights[0]);
        Tensor addresses = op.W.Addresses!;
        Kernel<ChosenLauncher<T>> kernel = device.Load<ChosenLauncher<T>>(ProductKernels.Chosen<T, TFormat>);
        int columns = op.Out.Columns, lanes = Side(kernel.Threads), across = DivideUp(columns, lanes), size = first.Type.Size();
        kernel.Launch(
            device.Stream, (GpuDevice.Groups((long)across * op.X.Rows), lanes * lanes), device.View(op.X), op.X.Stride, device.View<int>(choice),
            device.View<long>(addresses), addresses.Shape[0], device.Platform.View<T>(0, long.MaxValue / size), size, first.Leading, op.X.Columns,
            columns, lanes, across, device.Platform.View<float>(0, long.MaxValue / 4), (int)op.Activation, device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, device.View(op.Out), op.Out.Stride, device.Faults);
    }

    private void ChosenIntegers(in GroupedMatMul op, Tensor choice)
    {
        using Tensor integers = Rounded(op.X, 0, out Tensor rounding);
        using Tensor scales = rounding;
        Tensor addresses = op.W.Addresses!;
        Kernel<ChosenIntegersLauncher> kernel = device.Load<ChosenIntegersLauncher>(IntegerProductKernels.Chosen);
        int columns = op.Out.Columns, across = DivideUp(columns, kernel.Threads);
        kernel.Launch(
            device.Stream, (GpuDevice.Groups((long)across * op.X.Rows), kernel.Threads), device.Platform.View<int>(integers.Address, integers.Bytes / 4),
            device.View<float>(scales), device.View<int>(choice), device.View<long>(addresses), addresses.Shape[0],
            device.Platform.View<int>(0, long.MaxValue / 4), device.Platform.View<float>(0, long.MaxValue / 4), columns, integers.Shape[1],
            (int)(device.Own(op.W.Weights[0]).Leading / Weight.GroupSize), across, (int)op.Activation, device.ViewOrEmpty(op.Multiply),
            op.Multiply?.Stride ?? 0, device.View(op.Out), op.Out.Stride, device.Faults);
    }

    /// <summary>The side of the largest square of threads in a group.</summary>
    public static int Side(int threads) => (int)Math.Sqrt(threads);

    private static int DivideUp(int a, int b) => (a + b - 1) / b;
}
