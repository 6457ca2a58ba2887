using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <summary>Parts of a sparse matrix's rows that are transposed side by side, if their counts fit in the cache.</summary>
    private const int TurnedParts = 128;

    private delegate void SparseLauncher(
        Queue queue, Config config, Ints pointers, Ints indices, Floats values, Ints order, float scale, Floats m, long mStride, int mRows, Floats offset,
        Floats bias, Floats target, long targetStride, int accumulate, Floats output, long stride, int columns, int blocks, Ints faults);

    /// <inheritdoc/>
    protected override void Execute(in SparseEncode op)
    {
        SparseEncoder.Run(this, in op, Faults);
        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseProduct op)
    {
        int rows = op.S.Rows, columns = op.Out.Columns;
        if (rows > 0 && columns > 0)
        {
            bool aligned = AreAligned(op.Offset, op.Bias) && IsAligned(columns, op.M, op.Target, op.Out);
            Kernel<SparseLauncher> kernel = Load<SparseLauncher>(aligned ? SparseKernels.Multiply<AtOnce> : SparseKernels.Multiply<OneByOne>);
            int blocks = Blocks(columns, kernel.Threads, each: 4);
            kernel.Launch(
                Stream, (Groups((long)rows * blocks), kernel.Threads), View<int>(op.S.RowPointers), View<int>(op.S.Indices), View<float>(op.S.Values),
                op.Order is null ? default : View<int>(op.Order), op.Scale, View(op.M), op.M.Stride, op.M.Rows, ViewOrEmpty(op.Offset),
                ViewOrEmpty(op.Bias), ViewOrEmpty(op.Target), op.Target?.Stride ?? 0, op.Accumulate ? 1 : 0, View(op.Out), op.Out.Stride, columns,
                blocks, Faults);
        }

        if (op.Dots is not null)
        {
            Execute(new SparseDots { X = op.Out, S = op.S, M = op.M, Out = op.Dots });
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseDots op)
    {
        if (op.S.Rows > 0)
        {
            bool aligned = IsAligned(op.X.Columns, op.X, op.M);
            var kernel = Load<Action<Queue, Config, Floats, long, Ints, Ints, Floats, long, int, int, Floats, Ints>>(
                aligned ? SparseKernels.Dots<AtOnce> : SparseKernels.Dots<OneByOne>);
            kernel.Launch(
                Stream, (op.S.Rows, kernel.Threads), View(op.X), op.X.Stride, View<int>(op.S.RowPointers), View<int>(op.S.Indices), View(op.M),
                op.M.Stride, op.M.Rows, op.X.Columns, View<float>(op.Out), Faults);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseTranspose op)
    {
        int rows = op.S.Rows, columns = op.S.Columns;
        if (rows == 0 || columns == 0)
        {
            _platform.Clear(op.RowPointers.Address, op.RowPointers.Bytes);
            Finish(in op);
            return;
        }

        int parts = (int)Math.Clamp(_platform.CachedBytes / sizeof(int) / columns, 1, Math.Min(TurnedParts, rows));
        using Tensor counts = Allocate(ElementType.I32, parts, columns), totals = Allocate(ElementType.I32, columns);
        _platform.Clear(counts.Address, counts.Bytes);
        Ints pointers = View<int>(op.S.RowPointers), indices = View<int>(op.S.Indices), starts = View<int>(op.RowPointers);
        var count = Load<Action<Queue, Config, Ints, Ints, int, int, Ints, Ints>>(SparseKernels.CountColumns);
        count.Launch(Stream, (parts, count.Threads), pointers, indices, rows, columns, View<int>(counts), Faults);
        var add = Load<Action<Queue, Config, Ints, int, int, Ints>>(SparseKernels.AddParts);
        add.Launch(Stream, (Blocks(columns, add.Threads), add.Threads), View<int>(counts), parts, columns, View<int>(totals));
        var scan = Load<Action<Queue, Config, Ints, Ints, int, int, Ints>>(SparseEncodeKernels.Scan);
        scan.Launch(Stream, (1, scan.Threads), View<int>(totals), starts, 0, columns, Faults);
        var turn = Load<Action<Queue, Config, Ints, Ints, int, int, Ints, Ints, Ints, Ints, Ints>>(SparseKernels.Turn);
        turn.Launch(
            Stream, (parts, turn.Threads), pointers, indices, rows, columns, View<int>(counts), starts, View<int>(op.Indices), View<int>(op.Order),
            Faults);
        Finish(in op);
    }

    /// <summary>A vector from every row.</summary>
    internal void Subtract(in Matrix x, Tensor vector, in Matrix output) =>
        Elements<ElementwiseKernels.Difference>(x, new Matrix(vector, 0, x.Rows, x.Columns, 0), output);
}
