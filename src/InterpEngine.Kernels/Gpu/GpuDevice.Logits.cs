using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in LogProbability op)
    {
        Floats x = View(op.X), output = View<float>(op.Out);
        if (output.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, Ints, Floats, int, Ints>>(LogitKernels.LogProbability);
            kernel.Launch(
                Stream, (op.X.Rows, kernel.Threads), x, op.X.Stride, op.X.Columns, View<int>(op.Targets), output, op.Count, Faults);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in LogSoftmax op)
    {
        Floats x = View(op.X), output = View(op.Out);
        if (output.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, Floats, long>>(LogitKernels.LogSoftmax);
            kernel.Launch(Stream, (op.X.Rows, kernel.Threads), x, op.X.Stride, op.X.Columns, output, op.Out.Stride);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in TopK op)
    {
        int k = op.Values.Shape[1];
        Floats x = View(op.X), values = View<float>(op.Values);
        Ints indices = View<int>(op.Indices);
        if (values.Length > 0)
        {
            using Tensor chosen = Allocate(ElementType.I32, op.X.Rows, k);
            var kernel = Load<Action<Queue, Config, Floats, long, int, int, Floats, Ints, Ints>>(TopKKernels.Select);
            kernel.Launch(
                Stream, (op.X.Rows, kernel.Threads), x, op.X.Stride, op.X.Columns, k, values, indices, View<int>(chosen));
        }

        Finish(in op);
    }
}
