using ILGPU;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <summary>Bytes of a checkpoint on the device at a time, unless one column takes more.</summary>
    private const long StagedBytes = 64 << 20;

    /// <inheritdoc/>
    public override Weight CreateWeight(int inner, int columns, ElementType type = ElementType.F32)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return new GpuWeight(this, type, inner, columns);
    }

    /// <inheritdoc/>
    public override void Pack(Weight weight, in WeightBlock block)
    {
        ArgumentNullException.ThrowIfNull(weight);
        block.Check(weight);
        GpuWeight own = Own(weight);
        if (block.Inner == 0 || block.Columns == 0)
        {
            return;
        }

        // Along the source's rows, whichever way they lie, in pieces of whole rows (of whole groups of 32 along K).
        bool byColumns = Math.Abs(block.ColumnStride) >= Math.Abs(block.InnerStride);
        int rows = byColumns ? block.Columns : block.Inner;
        long rowBytes = Math.Max(1, Math.Abs(byColumns ? block.ColumnStride : block.InnerStride) * block.Type.Size());
        int step = (int)Math.Clamp(StagedBytes / rowBytes / Weight.GroupSize * Weight.GroupSize, Weight.GroupSize, Math.Max(Weight.GroupSize, rows));
        for (int start = 0; start < rows; start += step)
        {
            int count = Math.Min(step, rows - start);
            nint offset = (nint)(start * (byColumns ? block.ColumnStride : block.InnerStride) * block.Type.Size());
            PackPiece(own, byColumns
                ? block with { Address = block.Address + offset, Columns = count, ColumnStart = block.ColumnStart + start }
                : block with { Address = block.Address + offset, Inner = count, InnerStart = block.InnerStart + start });
        }
    }

    /// <summary>The weight as this device made it.</summary>
    internal GpuWeight Own(Weight weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        return weight is GpuWeight own && own.Device == this
            ? own
            : throw new ArgumentException($"The weight [{weight.Inner}, {weight.Columns}] is another device's; create it on {Name}.");
    }

    private void PackPiece(GpuWeight weight, in WeightBlock block)
    {
        switch (block.Type)
        {
            case ElementType.F32:
                PackPiece<float, SingleSource>(weight, in block);
                break;
            case ElementType.F64:
                PackPiece<double, DoubleSource>(weight, in block);
                break;
            case ElementType.F16:
                PackPiece<ILGPU.Half, HalfSource>(weight, in block);
                break;
            default:
                PackPiece<ushort, BF16Source>(weight, in block);
                break;
        }
    }

    private unsafe void PackPiece<T, TSource>(GpuWeight weight, in WeightBlock block)
        where T : unmanaged
        where TSource : struct, ISource<T>
    {
        // From the first of the rectangle's elements in memory to the last, with what lies between.
        long low = Math.Min(0, (block.Inner - 1) * block.InnerStride) + Math.Min(0, (block.Columns - 1) * block.ColumnStride);
        long high = Math.Max(0, (block.Inner - 1) * block.InnerStride) + Math.Max(0, (block.Columns - 1) * block.ColumnStride);
        long elements = high - low + 1;
        nint staged = AllocateMemory(elements * sizeof(T));
        try
        {
            for (long at = 0; at < elements; at += 1 << 28)
            {
                int count = (int)Math.Min(1 << 28, elements - at);
                var source = new ReadOnlySpan<byte>((byte*)block.Address + (low + at) * sizeof(T), checked(count * sizeof(T)));
                _platform.Write(source, staged + (nint)(at * sizeof(T)));
            }

            ArrayView<T> from = _platform.View<T>(staged - (nint)(low * sizeof(T)), high + 1);
            Launch<T, TSource>(weight, in block, from);
            _platform.Synchronize(); // before the piece is freed
        }
        finally
        {
            FreeMemory(staged, elements * sizeof(T));
        }
    }

    private void Launch<T, TSource>(GpuWeight weight, in WeightBlock block, ArrayView<T> from)
        where T : unmanaged
        where TSource : struct, ISource<T>
    {
        long leading = weight.Leading, first = block.ColumnStart * leading + block.InnerStart;
        long length = (block.Columns - 1) * leading + block.Inner;
        nint address = weight.Address + (nint)(first * weight.Type.Size());
        long count = (long)block.Inner * block.Columns;
        if (weight.Type == ElementType.F32)
        {
            var kernel = Load<Action<Queue, Config, ArrayView<T>, long, long, int, long, ArrayView<float>, long>>(PackKernels.ToSingles<T, TSource>);
            kernel.Launch(
                Stream, (Groups((count + kernel.Threads - 1) / kernel.Threads), kernel.Threads),
                from, block.InnerStride, block.ColumnStride, block.Inner, count, _platform.View<float>(address, length), leading);
        }
        else if (weight.Type == ElementType.BF16)
        {
            var kernel = Load<Action<Queue, Config, ArrayView<T>, long, long, int, long, ArrayView<ushort>, long>>(PackKernels.ToHalves<T, TSource>);
            kernel.Launch(
                Stream, (Groups((count + kernel.Threads - 1) / kernel.Threads), kernel.Threads),
                from, block.InnerStride, block.ColumnStride, block.Inner, count, _platform.View<ushort>(address, length), leading);
        }
        else
        {
            long groups = (block.Inner + Weight.GroupSize - 1) / Weight.GroupSize, rowGroups = leading / Weight.GroupSize;
            ArrayView<float> scales = _platform.View<float>(
                weight.Scales + (nint)(first / Weight.GroupSize * sizeof(float)), (block.Columns - 1) * rowGroups + groups);
            count = groups * block.Columns;
            var kernel = Load<Action<Queue, Config, ArrayView<T>, long, long, int, long, ArrayView<sbyte>, long, ArrayView<float>>>(
                PackKernels.ToIntegers<T, TSource>);
            kernel.Launch(
                Stream, (Groups((count + kernel.Threads - 1) / kernel.Threads), kernel.Threads),
                from, block.InnerStride, block.ColumnStride, block.Inner, count, _platform.View<sbyte>(address, length), leading, scales);
        }
    }
}
