using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Keys = ILGPU.ArrayView<uint>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// <see cref="SparseEncode"/>: as many rows at a time as the GPU's cache holds pre-activations of are multiplied, and looked through before the
/// next ones take their place.
/// </summary>
internal sealed class SparseEncoder : IDisposable
{
    /// <summary>Fewer rows than this would read the weight too often.</summary>
    private const int FewestRows = 128;

    private readonly GpuDevice _device;
    private readonly SparseEncode _op;
    private readonly int _rows;
    private readonly int _columns;
    private readonly int _rowsAtOnce;
    private readonly Ints _chosen;
    private readonly Floats _scale;
    private readonly Floats _threshold;
    private readonly Ints _faults;
    private readonly Tensor? _packed;
    private readonly Weight _weight;
    private readonly Tensor? _bias;

    private delegate void SelectLauncher(
        Queue queue, Config config, Floats dense, long stride, int columns, Ints chosen, Floats scale, Floats threshold, int byMagnitude, int k,
        Ints listColumns, Floats listValues, Ints counts);

    private delegate void HistogramLauncher(
        Queue queue, Config config, Floats dense, long stride, int columns, Ints chosen, Floats scale, Floats threshold, Keys poolKeys, int segments,
        Ints state, uint mask, int down, Ints histogram);

    private delegate void CountLauncher(
        Queue queue, Config config, Floats dense, long stride, int columns, Ints chosen, Floats scale, Floats threshold, Keys poolKeys, int segments,
        Ints state, Ints larger, Ints equal);

    private delegate void KeepLauncher(
        Queue queue, Config config, Floats dense, long stride, int columns, Ints chosen, Floats scale, Floats threshold, Keys poolKeys, Ints poolRows,
        Ints poolColumns, Floats poolValues, int segments, int firstRow, Ints state, Ints larger, Ints equal, Keys nextKeys, Ints nextRows,
        Ints nextColumns, Floats nextValues);

    private SparseEncoder(GpuDevice device, in SparseEncode op, Ints faults)
    {
        (_device, _op, _rows, _columns, _faults) = (device, op, op.X.Rows, op.Candidates, faults);
        _chosen = op.Chosen is null ? default : device.View<int>(op.Chosen);
        (_scale, _threshold) = (device.ViewOrEmpty(op.Scale), device.ViewOrEmpty(op.Threshold));
        long fit = device.Platform.CachedBytes / sizeof(float) / Math.Max(1, _columns);
        _rowsAtOnce = (int)Math.Clamp(fit, Math.Min(FewestRows, device.Platform.CachedBytes), int.MaxValue);
        (_weight, _packed) = op.W is { } weight ? (weight, null) : Pack(op.Directions!.Value);
        _bias = op.Bias is { } bias && op.Chosen is not null ? Picked(bias) : op.Bias?.Share();
    }

    public static void Run(GpuDevice device, in SparseEncode op, Ints faults)
    {
        using var encoder = new SparseEncoder(device, in op, faults);
        bool none = encoder._rows == 0 || encoder._columns == 0 || (op.Selection != Selection.Threshold && op.K == 0);
        if (none)
        {
            device.Platform.Clear(op.Out.RowPointers.Address, op.Out.RowPointers.Bytes);
        }

        switch (op.Selection)
        {
            case Selection.BatchTopK when !none:
                encoder.SelectOfBatch();
                break;
            case Selection.Threshold when !none:
                encoder.SelectAll();
                break;
            default:
                encoder.SelectOfRows(!none);
                break;
        }
    }

    public void Dispose()
    {
        _bias?.Dispose();
        if (_op.W is null)
        {
            _weight.Dispose();
        }

        _packed?.Dispose();
    }

    /// <summary>Directions as a weight: where they lie already as one does, or packed.</summary>
    private (Weight Weight, Tensor? Packed) Pack(Matrix directions)
    {
        int inner = directions.Columns;
        const int group = Weight.GroupSize;
        if (_op.DirectionsType == ElementType.F32 && _op.Chosen is null && inner % group == 0 && TensorRows.AreAligned(directions))
        {
            return (new GpuWeight(_device, ElementType.F32, inner, _columns, directions.Address, directions.Stride), null);
        }

        int leading = (inner + group - 1) / group * group;
        Tensor packed = _device.Allocate(_op.DirectionsType, _columns, leading);
        if (packed.Shape.Count > 0)
        {
            (Floats wide, Halves narrow) = _device.Views(packed);
            var pack = _device.Load<Action<Queue, Config, Floats, long, int, Ints, int, Floats, Halves, int, Ints>>(SparseEncodeKernels.Pack);
            pack.Launch(
                _device.Stream, (_columns, pack.Threads), _device.View(directions), directions.Stride, directions.Rows, _chosen, inner, wide, narrow,
                leading, _faults);
        }

        return (new GpuWeight(_device, _op.DirectionsType, inner, _columns, packed.Address, leading), packed);
    }

    private Tensor Picked(Tensor vector)
    {
        Tensor picked = _device.Allocate(ElementType.F32, _columns);
        if (_columns > 0)
        {
            var pick = _device.Load<Action<Queue, Config, Floats, Ints, Floats>>(SparseEncodeKernels.Pick);
            pick.Launch(
                _device.Stream, (GpuDevice.Blocks(_columns, pick.Threads), pick.Threads), _device.View<float>(vector), _chosen,
                _device.View<float>(picked));
        }

        return picked;
    }

    /// <summary>Multiplies all rows part by part.</summary>
    /// <param name="use">What to do with the pre-activations of some rows from the first one on.</param>
    private void ForEachPart(Action<Matrix, int> use)
    {
        int atOnce = Math.Min(_rows, _rowsAtOnce);
        using Tensor? centred = _op.Offset is null ? null : _device.Allocate(ElementType.F32, atOnce, _op.X.Columns);
        using Tensor? scratch = _op.Pre is null ? _device.Allocate(ElementType.F32, atOnce, _columns) : null;
        for (int first = 0; first < _rows; first += atOnce)
        {
            int count = Math.Min(atOnce, _rows - first);
            Matrix x = _op.X with { Offset = _op.X.Offset + first * _op.X.Stride, Rows = count };
            if (centred is not null)
            {
                var to = new Matrix(centred, 0, count, x.Columns, x.Columns);
                _device.Subtract(x, _op.Offset!, to);
                x = to;
            }

            Matrix dense = _op.Pre is { } pre
                ? pre with { Offset = pre.Offset + first * pre.Stride, Rows = count }
                : new Matrix(scratch!, 0, count, _columns, _columns);
            _device.Run(new MatMul { X = x, W = _weight, Bias = _bias, Out = dense });
            use(dense, first);
        }
    }

    /// <summary>Row pointers from counts on.</summary>
    private void Scan(Tensor counts, int first, int rows)
    {
        var scan = _device.Load<Action<Queue, Config, Ints, Ints, int, int, Ints>>(SparseEncodeKernels.Scan);
        scan.Launch(
            _device.Stream, (1, scan.Threads), _device.View<int>(counts), _device.View<int>(_op.Out.RowPointers), first, rows, _faults);
    }

    private void SelectAll()
    {
        using Tensor counts = _device.Allocate(ElementType.I32, Math.Min(_rows, _rowsAtOnce));
        var count = _device.Load<Action<Queue, Config, Floats, long, int, Ints, Floats, Floats, Ints>>(SparseEncodeKernels.Count);
        var emit = _device.Load<Action<Queue, Config, Floats, long, int, Ints, Floats, Floats, Ints, Ints, Floats, int>>(SparseEncodeKernels.Emit);
        ForEachPart((dense, first) =>
        {
            Floats view = _device.View(dense);
            count.Launch(
                _device.Stream, (dense.Rows, count.Threads), view, dense.Stride, _columns, _chosen, _scale, _threshold, _device.View<int>(counts));
            Scan(counts, first, dense.Rows);
            emit.Launch(
                _device.Stream, (dense.Rows, emit.Threads), view, dense.Stride, _columns, _chosen, _scale, _threshold,
                _device.View<int>(_op.Out.RowPointers).SubView(first, dense.Rows), _device.View<int>(_op.Out.Indices),
                _device.View<float>(_op.Out.Values), _op.Out.Capacity);
        });
    }

    private void SelectOfRows(bool any)
    {
        if (!any)
        {
            ForEachPart((_, _) => { }); // for who wants to see them
            return;
        }

        int atOnce = Math.Min(_rows, _rowsAtOnce), k = _op.K;
        using Tensor counts = _device.Allocate(ElementType.I32, atOnce), columns = _device.Allocate(ElementType.I32, atOnce, k);
        using Tensor values = _device.Allocate(ElementType.F32, atOnce, k);
        using Tensor? winners = _op.Selection == Selection.GroupMax ? _device.Allocate(ElementType.I32, atOnce, k) : null;
        var place = _device.Load<Action<Queue, Config, Ints, Floats, Ints, int, long, Ints, Ints, Floats, int>>(SparseEncodeKernels.Place);
        ForEachPart((dense, first) =>
        {
            Ints countsView = _device.View<int>(counts), columnsView = _device.View<int>(columns);
            Floats valuesView = _device.View<float>(values);
            if (winners is not null)
            {
                var groups = _device.Load<Action<Queue, Config, Floats, long, int, Floats, Floats, int, Ints, Ints, Floats, Ints>>(
                    SparseEncodeKernels.SelectOfGroups);
                groups.Launch(
                    _device.Stream, (dense.Rows, groups.Threads), _device.View(dense), dense.Stride, _columns, _scale, _threshold, k,
                    _device.View<int>(winners), columnsView, valuesView, countsView);
            }
            else
            {
                Kernel<SelectLauncher> select = _device.Load<SelectLauncher>(SparseEncodeKernels.Select);
                select.Launch(
                    _device.Stream, (dense.Rows, select.Threads), _device.View(dense), dense.Stride, _columns, _chosen, _scale, _threshold,
                    _op.Selection == Selection.TopMagnitude ? 1 : 0, k, columnsView, valuesView, countsView);
            }

            Scan(counts, first, dense.Rows);
            long places = (long)dense.Rows * k;
            place.Launch(
                _device.Stream, (GpuDevice.Blocks(places, place.Threads), place.Threads), columnsView, valuesView, countsView, k, places,
                _device.View<int>(_op.Out.RowPointers).SubView(first, dense.Rows), _device.View<int>(_op.Out.Indices),
                _device.View<float>(_op.Out.Values), _op.Out.Capacity);
        });
    }

    private void SelectOfBatch()
    {
        int k = (int)Math.Min(_op.K, (long)_rows * _columns), segments = (k + BatchTopKKernels.Segment - 1) / BatchTopKKernels.Segment;
        int items = segments + Math.Min(_rows, _rowsAtOnce);
        using var pools = new Pools(_device, k);
        using Tensor state = Zeros(BatchTopKKernels.StateLength), histogram = Zeros(RadixSelect.Bins);
        using Tensor larger = _device.Allocate(ElementType.I32, items + 1), equal = _device.Allocate(ElementType.I32, items);
        Ints stateView = _device.View<int>(state), bins = _device.View<int>(histogram);
        Ints above = _device.View<int>(larger), same = _device.View<int>(equal);
        Kernel<HistogramLauncher> count = _device.Load<HistogramLauncher>(BatchTopKKernels.Histogram);
        var narrow = _device.Load<Action<Queue, Config, Ints, Ints, int, int, int>>(BatchTopKKernels.Narrow);
        Kernel<CountLauncher> countAbove = _device.Load<CountLauncher>(BatchTopKKernels.Count);
        var scan = _device.Load<Action<Queue, Config, Ints, Ints, int>>(BatchTopKKernels.Scan);
        Kernel<KeepLauncher> keep = _device.Load<KeepLauncher>(BatchTopKKernels.Keep);
        var settle = _device.Load<Action<Queue, Config, Ints, Ints, int>>(BatchTopKKernels.Settle);
        ForEachPart((dense, first) =>
        {
            Floats view = _device.View(dense);
            int groups = segments + dense.Rows;
            Pool now = pools.Now, next = pools.Next;
            uint mask = 0;
            for (int round = 0; round < 3; round++)
            {
                int down = Math.Max(0, 32 - (round + 1) * RadixSelect.Bits);
                count.Launch(
                    _device.Stream, (groups, count.Threads), view, dense.Stride, _columns, _chosen, _scale, _threshold, now.Keys, segments, stateView,
                    mask, down, bins);
                narrow.Launch(_device.Stream, (1, narrow.Threads), bins, stateView, k, round, down);
                mask |= (uint)(RadixSelect.Bins - 1) << down;
            }

            countAbove.Launch(
                _device.Stream, (groups, countAbove.Threads), view, dense.Stride, _columns, _chosen, _scale, _threshold, now.Keys, segments, stateView,
                above, same);
            scan.Launch(_device.Stream, (1, scan.Threads), above, same, groups);
            keep.Launch(
                _device.Stream, (groups, keep.Threads), view, dense.Stride, _columns, _chosen, _scale, _threshold, now.Keys, now.Rows, now.Columns,
                now.Values, segments, first, stateView, above, same, next.Keys, next.Rows, next.Columns, next.Values);
            settle.Launch(_device.Stream, (1, settle.Threads), stateView, above, groups);
            pools.Turn();
        });
        var finish = _device.Load<Action<Queue, Config, Ints, Ints, Floats, Ints, int, Ints, Ints, Floats, int>>(BatchTopKKernels.Finish);
        Pool last = pools.Now;
        finish.Launch(
            _device.Stream, (GpuDevice.Blocks(Math.Max(_rows + 1, k), finish.Threads), finish.Threads), last.Rows, last.Columns, last.Values, stateView,
            _rows, _device.View<int>(_op.Out.RowPointers), _device.View<int>(_op.Out.Indices), _device.View<float>(_op.Out.Values), _op.Out.Capacity);
    }

    private Tensor Zeros(int count)
    {
        Tensor zeros = _device.Allocate(ElementType.I32, count);
        _device.Platform.Clear(zeros.Address, zeros.Bytes);
        return zeros;
    }

    private readonly record struct Pool(Keys Keys, Ints Rows, Ints Columns, Floats Values);

    /// <summary>The pool and the one that it becomes.</summary>
    private sealed class Pools(GpuDevice device, int k) : IDisposable
    {
        private readonly Tensor _integers = device.Allocate(ElementType.I32, 2, 3, k);
        private readonly Tensor _values = device.Allocate(ElementType.F32, 2, k);
        private int _turn;

        public Pool Now => At(_turn);

        public Pool Next => At(1 - _turn);

        public void Turn() => _turn = 1 - _turn;

        public void Dispose()
        {
            _integers.Dispose();
            _values.Dispose();
        }

        private Pool At(int turn)
        {
            Ints integers = device.View<int>(_integers).SubView(turn * 3L * k, 3L * k);
            return new(
                integers.SubView(0, k).Cast<uint>(), integers.SubView(k, k), integers.SubView(2L * k, k),
                device.View<float>(_values).SubView((long)turn * k, k));
        }
    }
}
