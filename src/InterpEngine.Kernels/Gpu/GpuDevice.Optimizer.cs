using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    private delegate void AdamLauncher(
        Queue queue, Config config, Floats p, long pStride, Floats gradient, long gradientStride, Floats m, long mStride, Floats v,
        long vStride, int columns, float gradientScale, float stepSize, float beta1, float beta2, float inverseRootCorrection,
        float epsilon, float normalizeEpsilon);

    /// <inheritdoc/>
    protected override void Execute(in AdamStep op)
    {
        Floats p = View(op.Parameter), gradient = View(op.Gradient), m = View(op.M), v = View(op.V);
        if (p.Length > 0)
        {
            Kernel<AdamLauncher> kernel = Load<AdamLauncher>(OptimizerKernels.Adam);
            kernel.Launch(
                Stream, (op.Parameter.Rows, kernel.Threads), p, op.Parameter.Stride, gradient, op.Gradient.Stride, m, op.M.Stride, v,
                op.V.Stride, op.Parameter.Columns, op.GradientScale, op.StepSize, op.Beta1, op.Beta2, op.InverseRootCorrection,
                op.Epsilon, op.NormalizeEpsilon);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in ProjectGradient op)
    {
        Floats p = View(op.Parameter), g = View(op.Gradient), squares = View<float>(op.Squares);
        if (squares.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, Floats, long, int, int, float, Floats>>(OptimizerKernels.Project);
            kernel.Launch(
                Stream, (op.Gradient.Rows, kernel.Threads), p, op.Parameter.Stride, g, op.Gradient.Stride, op.Gradient.Columns,
                op.Project ? 1 : 0, op.DivideEpsilon, squares);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in ColumnStatistics op)
    {
        if (op.X.Columns > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, int, int, Floats, Floats>>(SparseKernels.Statistics);
            int across = Math.Min(32, kernel.Threads);
            kernel.Launch(
                Stream, ((op.X.Columns + across - 1) / across, kernel.Threads), View(op.X), op.X.Stride, op.X.Rows, op.X.Columns, across,
                View<float>(op.Sums), ViewOrEmpty(op.Deviations));
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SignStep op)
    {
        int rows = op.Parameter.Rows, columns = op.Parameter.Columns;
        if (rows > 0 && columns > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, Floats, long, Floats, long, int, int, float, float, float>>(OptimizerKernels.Sign);
            int blocks = Blocks(columns, kernel.Threads);
            kernel.Launch(
                Stream, (Groups((long)rows * blocks), kernel.Threads), View(op.Parameter), op.Parameter.Stride, View(op.Gradient), op.Gradient.Stride,
                View(op.Fast), op.Fast.Stride, columns, blocks, op.Rate, op.Momentum, op.Share);
        }

        Finish(in op);
    }
}
