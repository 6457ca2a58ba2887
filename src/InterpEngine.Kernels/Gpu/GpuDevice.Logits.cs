using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <summary>A longer row is cut into parts of about this many columns, whose largest are then compared.</summary>
    private const int TopKPart = 4096;

    /// <inheritdoc/>
    protected override void Execute(in LogProbability op)
    {
        Floats x = View(op.X), output = View<float>(op.Out);
        int rows = op.X.Rows, columns = op.X.Columns;
        if (output.Length > 0 && columns <= LogitKernels.Slice)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, Ints, Floats, int, Ints>>(LogitKernels.LogProbability);
            kernel.Launch(Stream, (rows, kernel.Threads), x, op.X.Stride, columns, View<int>(op.Targets), output, op.Count, Faults);
        }
        else if (output.Length > 0)
        {
            using var parts = new LogSums(this, op.X);
            var kernel = Load<Action<Queue, Config, Floats, long, int, int, Floats, Floats, Ints, Floats, int, Ints>>(
                LogitKernels.LogProbabilityOf);
            kernel.Launch(
                Stream, (rows, kernel.Threads), x, op.X.Stride, columns, parts.Slices, parts.Maxima, parts.Sums, View<int>(op.Targets),
                output, op.Count, Faults);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in LogSoftmax op)
    {
        Floats x = View(op.X), output = View(op.Out);
        int rows = op.X.Rows, columns = op.X.Columns;
        if (output.Length > 0 && columns <= LogitKernels.Slice)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, Floats, long>>(LogitKernels.LogSoftmax);
            kernel.Launch(Stream, (rows, kernel.Threads), x, op.X.Stride, columns, output, op.Out.Stride);
        }
        else if (output.Length > 0)
        {
            using var parts = new LogSums(this, op.X);
            var kernel = Load<Action<Queue, Config, Floats, long, int, int, Floats, Floats, Floats, long>>(LogitKernels.LogSoftmaxOf);
            kernel.Launch(
                Stream, (Groups((long)rows * parts.Slices), kernel.Threads), x, op.X.Stride, columns, parts.Slices, parts.Maxima, parts.Sums,
                output, op.Out.Stride);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in TopK op)
    {
        int k = op.Values.Shape[1], rows = op.X.Rows, parts = (op.X.Columns + TopKPart - 1) / TopKPart;
        if (rows > 0 && k > 0)
        {
            if (parts > 1 && k <= TopKPart / 16)
            {
                using Tensor values = Allocate(ElementType.F32, rows, parts * k), names = Allocate(ElementType.I32, rows, parts * k);
                Select(op.X, parts, k, default, values, names);
                Select(values, 1, k, View<int>(names), op.Values, op.Indices);
            }
            else
            {
                Select(op.X, 1, k, default, op.Values, op.Indices);
            }
        }

        Finish(in op);
    }

    private void Select(in Matrix x, int parts, int k, Ints names, Tensor values, Tensor indices)
    {
        int groups = Groups((long)x.Rows * parts);
        if (k == 1)
        {
            var largest = Load<Action<Queue, Config, Floats, long, int, int, Ints, Floats, Ints>>(TopKKernels.Largest);
            largest.Launch(
                Stream, (groups, largest.Threads), View(x), x.Stride, x.Columns, parts, names, View<float>(values), View<int>(indices));
            return;
        }

        using Tensor chosen = Allocate(ElementType.I32, x.Rows * parts, k);
        var kernel = Load<Action<Queue, Config, Floats, long, int, int, int, Ints, Floats, Ints, Ints>>(TopKKernels.Select);
        kernel.Launch(
            Stream, (groups, kernel.Threads), View(x), x.Stride, x.Columns, parts, k, names, View<float>(values),
            View<int>(indices), View<int>(chosen));
    }

    /// <summary>Of the slices of long rows, the maxima and the sums of e^(x − the row's maximum).</summary>
    private sealed class LogSums : IDisposable
    {
        private readonly Tensor _maxima;
        private readonly Tensor _sums;

        public LogSums(GpuDevice device, in Matrix x)
        {
            Slices = (x.Columns + LogitKernels.Slice - 1) / LogitKernels.Slice;
            (_maxima, _sums) = (device.Allocate(ElementType.F32, x.Rows, Slices), device.Allocate(ElementType.F32, x.Rows, Slices));
            (Maxima, Sums) = (device.View<float>(_maxima), device.View<float>(_sums));
            int groups = Groups((long)x.Rows * Slices);
            var max = device.Load<Action<Queue, Config, Floats, long, int, int, Floats>>(LogitKernels.SliceMax);
            max.Launch(device.Stream, (groups, max.Threads), device.View(x), x.Stride, x.Columns, Slices, Maxima);
            var sum = device.Load<Action<Queue, Config, Floats, long, int, int, Floats, Floats>>(LogitKernels.SliceSum);
            sum.Launch(device.Stream, (groups, sum.Threads), device.View(x), x.Stride, x.Columns, Slices, Maxima, Sums);
        }

        public int Slices { get; }

        public Floats Maxima { get; }

        public Floats Sums { get; }

        public void Dispose()
        {
            _maxima.Dispose();
            _sums.Dispose();
        }
    }
}
