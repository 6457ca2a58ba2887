using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Add op)
    {
        Elements<ElementwiseKernels.Sum>(op.A, op.B, op.Out);
        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Activate op)
    {
        if (op.Multiply is { } multiply)
        {
            Elements<ElementwiseKernels.ActivatedTimes>(op.X, multiply, op.Out, (int)op.Activation);
        }
        else
        {
            Elements<ElementwiseKernels.Activated>(op.X, null, op.Out, (int)op.Activation);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Map op)
    {
        switch (op.Kind)
        {
            case MapKind.Scale:
                Elements<ElementwiseKernels.Product>(op.X, null, op.Out, op.Parameter);
                break;
            case MapKind.SoftCap:
                Elements<ElementwiseKernels.SoftCap>(op.X, null, op.Out, op.Parameter);
                break;
            default:
                Elements<ElementwiseKernels.Clamp>(op.X, null, op.Out, op.Parameter);
                break;
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Copy op)
    {
        Elements<ElementwiseKernels.First>(op.From, null, op.To);
        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Fill op)
    {
        Elements<ElementwiseKernels.Constant>(null, null, op.Out, op.Value);
        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in ClampedSwiglu op)
    {
        Elements<ElementwiseKernels.ClampedSwiglu>(op.Gate, op.Up, op.Out, op.Limit, op.Alpha);
        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in RepeatHeads op)
    {
        int heads = op.Out.Shape[^2], columns = op.X.Columns, blocks = Blocks(columns);
        Floats x = View(op.X), output = View<float>(op.Out);
        if (op.Out.Shape.Count > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, Floats, int, int, int>>(ElementwiseKernels.RepeatHeads);
            kernel.Launch(Stream, (Groups((long)op.X.Rows * heads * blocks), kernel.Threads), x, op.X.Stride, output, heads, columns, blocks);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SumHeads op)
    {
        int heads = op.X.Shape[^2], columns = op.Out.Columns, blocks = Blocks(columns);
        Floats x = View<float>(op.X), bias = ViewOrEmpty(op.Bias), output = View(op.Out);
        if (output.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, Floats, Floats, long, int, int, int>>(ElementwiseKernels.SumHeads);
            kernel.Launch(
                Stream, (Groups((long)op.Out.Rows * blocks), kernel.Threads), x, bias, output, op.Out.Stride, heads, columns, blocks);
        }

        Finish(in op);
    }

    /// <summary>A launch's number of groups.</summary>
    internal static int Groups(long count) => count <= int.MaxValue
        ? (int)count
        : throw new DeviceException($"An op needs {count:N0} groups of threads; a GPU takes {int.MaxValue:N0}.", "Use a smaller batch.");

    private static int Blocks(long columns) => Groups((columns + ElementwiseKernels.Block - 1) / ElementwiseKernels.Block);

    private void Elements<TFunction>(Matrix? x, Matrix? y, in Matrix output, float p = 0, float q = 0)
        where TFunction : struct, IElementFunction
    {
        Floats xs = ViewOrEmpty(x), ys = ViewOrEmpty(y), outs = View(output);
        if (outs.Length == 0)
        {
            return;
        }

        // Rows without gaps are one long row.
        bool dense = IsDense(output) && (x is not { } a || IsDense(a)) && (y is not { } b || IsDense(b));
        long rows = dense ? 1 : output.Rows, columns = dense ? (long)output.Rows * output.Columns : output.Columns;
        int blocks = Blocks(columns);
        var kernel = Load<Action<Queue, Config, Floats, long, Floats, long, Floats, long, long, int, float, float>>(
            ElementwiseKernels.Map<TFunction>);
        kernel.Launch(
            Stream, (Groups(rows * blocks), kernel.Threads),
            xs, x?.Stride ?? 0, ys, y?.Stride ?? 0, outs, output.Stride, columns, blocks, p, q);
    }

    private static bool IsDense(in Matrix matrix) => matrix.Stride == matrix.Columns || matrix.Rows == 1;
}
