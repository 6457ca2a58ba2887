using ILGPU;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in MatMul op)
    {
        if (op.Scale != 1 || op.SoftCap > 0)
        {
            MultiplyInSteps(in op);
            return;
        }

        GpuWeight weight = Own(op.W);
        ObjectDisposedException.ThrowIf(weight.Address == 0, weight);
        if (op.Out.Rows > 0 && op.Out.Columns > 0)
        {
            IProduct product = ProductOf(in op, weight);
            if (!product.TakesNarrow && (IsNarrow(op.X) || IsNarrow(op.Out)))
            {
                MultiplyWide(in op);
            }
            else
            {
                product.Run(in op, weight);
            }
        }

        if (op.Rotation is not null)
        {
            Execute(op.Rotary);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(ReadOnlySpan<MatMul> products)
    {
        if (products.Length > 1 && products[0].Out.Rows > 0 && Together(products))
        {
            Rotate(products);
            foreach (ref readonly MatMul op in products)
            {
                Finish(in op);
            }
        }
        else
        {
            base.Execute(products);
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in GroupedMatMul op)
    {
        if (op.X.Rows == 0 || op.Out.Columns == 0)
        {
            return;
        }

        // With the bits of each group's own product. What the device cannot choose among, the host does.
        bool possible = op.Choice is null || op.W.IsChosenByDevice;
        if (possible && WayOf(op.W.Weights) is { } way && way.Run(in op))
        {
            Finish(in op);
        }
        else
        {
            base.Execute(in op);
        }
    }

    /// <summary>Of each weight where it, its scales and its bias lie, in bytes; −1 for no bias.</summary>
    private protected override Tensor? AddressesOf(IReadOnlyList<Weight> weights, IReadOnlyList<Tensor>? biases)
    {
        if (WayOf(weights) is not { } way || !way.Chooses(Own(weights[0])))
        {
            return null;
        }

        long[] addresses = [.. weights.SelectMany((weight, i) => (long[])[Own(weight).Address, Own(weight).Scales, biases?[i].Address ?? -1])];
        return Upload<long>(addresses, weights.Count, WeightAddress.Length);
    }

    /// <summary>The way that products with weights of one shape and type go; null where they do not lie alike.</summary>
    private IProduct? WayOf(IReadOnlyList<Weight> weights)
    {
        GpuWeight first = Own(weights[0]);
        return weights.All(weight => Own(weight).Leading == first.Leading)
            ? Products.First(product => product.Accepts(first, first.Inner, first.Columns, 0, 0))
            : null;
    }

    /// <summary>Rotations after products, neighbours with equal tables two at a time: queries and keys.</summary>
    private void Rotate(ReadOnlySpan<MatMul> products)
    {
        for (int i = 0; i < products.Length; i++)
        {
            if (products[i].Rotation is not { } rotation)
            {
                continue;
            }

            bool pair = i + 1 < products.Length && products[i + 1].Rotation == rotation
                && products[i + 1].Out.Tensor.Shape[^1] == products[i].Out.Tensor.Shape[^1];
            Rotate(products[i].Rotary, pair ? products[i + 1].Rotary : null);
            i += pair ? 1 : 0;
        }
    }

    /// <summary>Whether all went to one way of making products, which had one for them together.</summary>
    private bool Together(ReadOnlySpan<MatMul> products)
    {
        IProduct? way = null;
        foreach (ref readonly MatMul op in products)
        {
            if (op.Scale != 1 || op.SoftCap > 0 || op.Out.Columns == 0)
            {
                return false;
            }

            IProduct product = ProductOf(in op, Own(op.W));
            if (product != (way ??= product) || (!product.TakesNarrow && (IsNarrow(op.X) || IsNarrow(op.Out))))
            {
                return false;
            }
        }

        return way!.Run(products);
    }

    /// <summary>The way that a product goes.</summary>
    private IProduct ProductOf(in MatMul op, GpuWeight weight)
    {
        foreach (IProduct product in Products)
        {
            if (product.Accepts(weight, op.X.Columns, op.Out.Columns, op.InnerStart, op.ColumnStart))
            {
                return product;
            }
        }

        throw new InvalidOperationException("The last way of making products takes everything.");
    }

    /// <inheritdoc/>
    public override ElementType OperandType(Weight weight) =>
        Own(weight).Type == ElementType.BF16 && Products[0].TakesNarrow ? ElementType.BF16 : ElementType.F32;

    /// <inheritdoc/>
    public override int ColumnsAtOnce(int rows) => _platform.ColumnsAtOnce(rows);

    private protected override bool KeepsNarrow => true;

    private static bool IsNarrow(in Matrix matrix) => matrix.Tensor.Type == ElementType.BF16;

    /// <summary>A product whose way knows fp32 alone.</summary>
    private void MultiplyWide(in MatMul op)
    {
        using Tensor? x = IsNarrow(op.X) ? Allocate(ElementType.F32, op.X.Rows, op.X.Columns) : null;
        using Tensor? output = IsNarrow(op.Out) ? Allocate(ElementType.F32, op.Out.Rows, op.Out.Columns) : null;
        if (x is not null)
        {
            Execute(new Copy { From = op.X, To = x });
        }

        Matrix wideX = x is null ? op.X : Matrix.From(x), wideOut = output is null ? op.Out : Matrix.From(output);
        Execute(op with { X = wideX, Out = wideOut, Rotation = null });
        if (output is not null)
        {
            Execute(new Copy { From = output, To = op.Out });
        }
    }

    /// <summary>Scales and caps after the product, which by its contract changes no bit: few models ask for either.</summary>
    private void MultiplyInSteps(in MatMul op)
    {
        using Tensor? own = op.Delta is null && op.Residual is not null ? Allocate(ElementType.F32, op.Out.Rows, op.Out.Columns) : null;
        Matrix delta = op.Delta ?? (own is null ? op.Out : Matrix.From(own));
        Execute(op with { Scale = 1, SoftCap = 0, Residual = null, Delta = null, Out = delta });
        Execute(new Map { X = delta, Kind = MapKind.Scale, Parameter = op.Scale, Out = delta });
        if (op.SoftCap > 0)
        {
            Execute(new Map { X = delta, Kind = MapKind.SoftCap, Parameter = op.SoftCap, Out = delta });
        }

        if (op.Residual is { } residual)
        {
            Execute(new Add { A = residual, B = delta, Out = op.Out });
        }
        else if (op.Delta is not null)
        {
            Execute(new Copy { From = delta, To = op.Out });
        }
    }

    /// <inheritdoc/>
    protected override void Execute(in MatMulTransposed op)
    {
        GpuWeight weight = Own(op.W);
        if (op.Out.Rows == 0 || op.Out.Columns == 0)
        {
            return;
        }

        switch (weight.Type)
        {
            case ElementType.F32:
                Transposed<float, F32Format>(in op, weight);
                break;
            case ElementType.BF16:
                Transposed<ushort, BF16Format>(in op, weight);
                break;
            default:
                var kernel = Load<Action<Queue, Config, Floats, long, ArrayView<sbyte>, Floats, long, int, int, int, Floats, long>>(
                    TransposedKernels.MultiplyIntegers);
                int across = (weight.Inner + kernel.Threads - 1) / kernel.Threads;
                kernel.Launch(
                    Stream, (Groups((long)op.Out.Rows * across), kernel.Threads),
                    View(op.X), op.X.Stride, Elements<sbyte>(weight), Scales(weight), weight.Leading, weight.Inner, weight.Columns, across,
                    View(op.Out), op.Out.Stride);
                break;
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Embed op)
    {
        GpuWeight table = Own(op.Table);
        Ints ids = View<int>(op.Ids);
        Floats output = View(op.Out);
        ObjectDisposedException.ThrowIf(table.Address == 0, table);
        if (output.Length == 0)
        {
            return;
        }

        switch (table.Type)
        {
            case ElementType.F32:
                Embed<float, F32Format>(ids, table, output, op.Out.Stride);
                break;
            case ElementType.BF16:
                Embed<ushort, BF16Format>(ids, table, output, op.Out.Stride);
                break;
            default:
                var kernel = Load<Action<Queue, Config, Ints, ArrayView<sbyte>, Floats, long, int, int, Floats, long, Ints>>(
                    TableKernels.EmbedIntegers);
                kernel.Launch(
                    Stream, (Groups(ids.Length), kernel.Threads), ids, Elements<sbyte>(table), Scales(table), table.Leading, table.Columns,
                    table.Inner, output, op.Out.Stride, Faults);
                break;
        }

        Finish(in op);
    }

    /// <summary>All elements of a weight.</summary>
    internal ArrayView<T> Elements<T>(GpuWeight weight) where T : unmanaged =>
        _platform.View<T>(weight.Address, weight.Leading * weight.Columns);

    private Floats Scales(GpuWeight weight) =>
        _platform.View<float>(weight.Scales, weight.Leading / Weight.GroupSize * weight.Columns);

    private void Transposed<T, TFormat>(in MatMulTransposed op, GpuWeight weight)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        var kernel = Load<Action<Queue, Config, Floats, long, ArrayView<T>, long, int, int, int, Floats, long>>(
            TransposedKernels.Multiply<T, TFormat>);
        int across = (weight.Inner + kernel.Threads - 1) / kernel.Threads;
        kernel.Launch(
            Stream, (Groups((long)op.Out.Rows * across), kernel.Threads),
            View(op.X), op.X.Stride, Elements<T>(weight), weight.Leading, weight.Inner, weight.Columns, across, View(op.Out), op.Out.Stride);
    }

    private void Embed<T, TFormat>(Ints ids, GpuWeight table, Floats output, long stride)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        var kernel = Load<Action<Queue, Config, Ints, ArrayView<T>, long, int, int, Floats, long, Ints>>(TableKernels.Embed<T, TFormat>);
        kernel.Launch(
            Stream, (Groups(ids.Length), kernel.Threads),
            ids, Elements<T>(table), table.Leading, table.Columns, table.Inner, output, stride, Faults);
    }
}
