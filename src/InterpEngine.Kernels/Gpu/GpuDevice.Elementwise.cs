using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
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
        if (!IsNarrow(op.From))
        {
            Elements<ElementwiseKernels.First>(op.From, null, op.To);
        }
        else if (op.To.Rows > 0 && op.To.Columns > 0)
        {
            (Floats wide, Halves narrow) = Views(op.To);
            Halves from = Views(op.From).Narrow;
            if (narrow.Length > 0)
            {
                var copy = Load<Action<Queue, Config, Halves, long, Halves, long, int, int>>(ElementwiseKernels.CopyNarrow);
                int blocks = Blocks(op.To.Columns, copy.Threads);
                copy.Launch(
                    Stream, (Groups((long)op.To.Rows * blocks), copy.Threads), from, op.From.Stride, narrow, op.To.Stride, op.To.Columns,
                    blocks);
            }
            else
            {
                var widen = Load<Action<Queue, Config, Halves, long, Floats, long, int, int>>(ElementwiseKernels.Widen);
                int blocks = Blocks(op.To.Columns, widen.Threads);
                widen.Launch(
                    Stream, (Groups((long)op.To.Rows * blocks), widen.Threads), from, op.From.Stride, wide, op.To.Stride, op.To.Columns,
                    blocks);
            }
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Append op)
    {
        int keyWidth = Append.Width(op.Keys), valueWidth = Append.Width(op.Values);
        if (op.Keys.Shape.Count + op.Values.Shape.Count > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, Floats, Floats, Floats, Ints, int, int, int, int, int, Ints>>(
                ElementwiseKernels.Append);
            int blocks = Blocks((long)keyWidth + valueWidth, kernel.Threads);
            kernel.Launch(
                Stream, (Groups((long)op.Batch * op.Tokens * blocks), kernel.Threads), View<float>(op.Keys), View<float>(op.Values),
                View<float>(op.KeyCache), View<float>(op.ValueCache), View<int>(op.At), op.Tokens, op.Capacity, keyWidth, valueWidth,
                blocks, Faults);
        }

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
        int heads = op.Out.Shape[^2], columns = op.X.Columns;
        Floats x = View(op.X), output = View<float>(op.Out);
        if (op.Out.Shape.Count > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, Floats, int, int, int>>(ElementwiseKernels.RepeatHeads);
            int blocks = Blocks(columns, kernel.Threads);
            kernel.Launch(Stream, (Groups((long)op.X.Rows * heads * blocks), kernel.Threads), x, op.X.Stride, output, heads, columns, blocks);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SumHeads op)
    {
        int heads = op.X.Shape[^2], columns = op.Out.Columns;
        Floats x = View<float>(op.X), bias = ViewOrEmpty(op.Bias), output = View(op.Out);
        if (output.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, Floats, Floats, long, int, int, int>>(ElementwiseKernels.SumHeads);
            int blocks = Blocks(columns, kernel.Threads);
            kernel.Launch(
                Stream, (Groups((long)op.Out.Rows * blocks), kernel.Threads), x, bias, output, op.Out.Stride, heads, columns, blocks);
        }

        Finish(in op);
    }

    /// <summary>A launch's number of groups.</summary>
    internal static int Groups(long count) => count <= int.MaxValue
        ? (int)count
        : throw new DeviceException($"An op needs {count:N0} groups of threads; a GPU takes {int.MaxValue:N0}.", "Use a smaller batch.");

    /// <summary>Groups for a row of which each thread makes a part.</summary>
    internal static int Blocks(long columns, int threads, int each = 1) =>
        Groups((columns + (long)threads * each - 1) / ((long)threads * each));

    private void Elements<TFunction>(Matrix? x, Matrix? y, in Matrix output, float p = 0, float q = 0)
        where TFunction : struct, IElementFunction
    {
        Floats xs = ViewOrEmpty(x), ys = ViewOrEmpty(y);
        (Floats outs, Halves narrow) = Views(output);
        if (outs.Length + narrow.Length == 0)
        {
            return;
        }

        // Rows without gaps are one long row.
        bool dense = IsDense(output) && (x is not { } a || IsDense(a)) && (y is not { } b || IsDense(b));
        long rows = dense ? 1 : output.Rows, columns = dense ? (long)output.Rows * output.Columns : output.Columns;
        var kernel = Load<Action<Queue, Config, Floats, long, Floats, long, Floats, Halves, long, long, int, float, float>>(
            IsAligned(rows == 1 ? (int)(columns % 4) : output.Columns, x, y, output)
                ? ElementwiseKernels.Map<TFunction, AtOnce>
                : ElementwiseKernels.Map<TFunction, OneByOne>);
        int blocks = Blocks(columns, kernel.Threads, ElementwiseKernels.Block);
        kernel.Launch(
            Stream, (Groups(rows * blocks), kernel.Threads), xs, x?.Stride ?? 0, ys, y?.Stride ?? 0, outs, narrow, output.Stride, columns,
            blocks, p, q);
    }

    private static bool IsDense(in Matrix matrix) => matrix.Stride == matrix.Columns || matrix.Rows == 1;
}
