using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>Packing keeps every element exactly, from any type, stride and address; embeddings read it back.</summary>
public sealed class WeightTests
{
    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Every_type_and_order_is_packed_exactly(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 1);
        float[] special = [float.PositiveInfinity, float.NegativeInfinity, -0f, 6e-8f, 1e-40f, 65504, 1 / 3f];
        foreach ((int inner, int columns) in ((int, int)[])
            [(0, 3), (3, 0), (1, 1), (7, 15), (16, 16), (17, 33), (33, 65), (64, 130)])
        {
            float[] values = run.Values(inner * columns);
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = i % 5 == 3 ? special[i % special.Length] : values[i];
            }

            Half[] halves = [.. values.Select(v => (Half)v)];
            ushort[] upperHalves = [.. values.Select(v => (ushort)(BitConverter.SingleToUInt32Bits(v) >> 16))];
            double[] doubles = [.. values.Select(v => v * (1 + 1e-9))];
            foreach (bool transposed in (bool[])[false, true])
            {
                Check(run, ElementType.F32, values, values, inner, columns, transposed);
                Check(run, ElementType.F16, halves, [.. halves.Select(h => (float)h)], inner, columns, transposed);
                Check(run, ElementType.F64, doubles, [.. doubles.Select(d => (float)d)], inner, columns, transposed);
                float[] widened = [.. upperHalves.Select(h => BitConverter.UInt32BitsToSingle((uint)h << 16))];
                Check(run, ElementType.BF16, upperHalves, widened, inner, columns, transposed);
            }
        }
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public unsafe void Blocks_fill_their_rectangles_and_nothing_else(string device)
    {
        using var run = new OpRun(Devices.All[device].Value, 2);
        using Weight weight = run.Device.CreateWeight(40, 70);
        var expected = new float[40 * 70];
        foreach ((int innerStart, int columnStart, int inner, int columns) in ((int, int, int, int)[])
            [(0, 0, 5, 7), (5, 7, 16, 16), (1, 30, 33, 17), (39, 69, 1, 1), (20, 47, 20, 9), (3, 3, 0, 4)])
        {
            float[] block = run.Values(inner * columns);
            fixed (float* address = block)
            {
                run.Device.Pack(weight, new((nint)address, ElementType.F32, inner, columns, 1, inner, innerStart, columnStart));
            }

            for (int i = 0; i < block.Length; i++)
            {
                expected[(innerStart + i % inner) * 70 + columnStart + i / inner] = block[i];
            }
        }

        Assert.Equal(expected, Elements(run, weight));
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Wrong_blocks_and_foreign_weights_are_refused(string device)
    {
        Device on = Devices.All[device].Value;
        using Weight weight = on.CreateWeight(4, 6);
        Assert.Throws<ArgumentException>(() => on.Pack(weight, new(0, ElementType.I32, 1, 1, 1, 1)));
        Assert.Throws<ArgumentException>(() => on.Pack(weight, new(0, ElementType.F32, 5, 1, 1, 1)));
        Assert.Throws<ArgumentException>(() => on.Pack(weight, new(0, ElementType.F32, 1, 1, 1, 1, 4)));
        Assert.Throws<ArgumentException>(() => on.Pack(weight, new(0, ElementType.F32, 1, 1, 1, 1, 0, -1)));
        Assert.Throws<ArgumentException>(() => on.Pack(weight, new(0, ElementType.F32, 1, int.MaxValue, 1, 1, 0, 1)));
        Assert.Throws<ArgumentOutOfRangeException>(() => on.CreateWeight(-1, 1));
        Assert.Throws<ArgumentException>(() => on.CreateWeight(1, 1, ElementType.F16));
        using Weight integers = on.CreateWeight(70, 6, ElementType.I8);
        Assert.Throws<ArgumentException>(() => on.Pack(integers, new(0, ElementType.F32, 6, 1, 1, 1, 64 - 1)));
        Assert.Throws<ArgumentException>(() => on.Pack(integers, new(0, ElementType.F32, 31, 1, 1, 1, 32)));
        Assert.Throws<ArgumentException>(() => on.Pack(new ForeignWeight(), new(0, ElementType.F32, 1, 1, 1, 1)));
        using Tensor x = on.Upload<float>([1, 2], 1, 2), y = on.Upload<float>([1, 2], 1, 2);
        Assert.Throws<ArgumentException>(() => on.Run(new MatMul { X = x, W = new ForeignWeight(), Out = y }));
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_disposed_weight_is_refused(string device)
    {
        Device on = Devices.All[device].Value;
        Weight weight = on.CreateWeight(2, 2);
        Assert.True(weight.Bytes >= 16);
        weight.Dispose();
        weight.Dispose();
        using Tensor x = on.Upload<float>([1, 2], 1, 2), y = on.Upload<float>([1, 2], 1, 2), ids = on.Upload<int>([0], 1);
        Assert.Throws<ObjectDisposedException>(() => on.Run(new MatMul { X = x, W = weight, Out = y }));
        Assert.Throws<ObjectDisposedException>(() => on.Run(new MatMulTransposed { X = x, W = weight, Out = y }));
        Assert.Throws<ObjectDisposedException>(() => on.Run(new Embed { Ids = ids, Table = weight, Out = y }));
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_weight_too_large_for_memory_is_a_clear_error(string device)
    {
        var error = Assert.Throws<DeviceException>(() => Devices.All[device].Value.CreateWeight(1 << 30, 1 << 20));
        Assert.NotNull(error.Hint);
    }

    private static unsafe void Check<T>(
        OpRun run, ElementType type, T[] values, float[] expected, int inner, int columns, bool transposed) where T : unmanaged
    {
        // One byte further than any alignment, and stored [outputs, inputs] or [inputs, outputs].
        T[] stored = transposed
            ? [.. Enumerable.Range(0, values.Length).Select(i => values[i % inner * columns + i / inner])]
            : values;
        byte[] bytes = [0, .. MemoryMarshal.AsBytes<T>(stored)];
        using Weight weight = run.Device.CreateWeight(inner, columns);
        fixed (byte* address = bytes)
        {
            (long innerStride, long columnStride) = transposed ? (1, inner) : (columns, 1);
            run.Device.Pack(weight, new((nint)address + 1, type, inner, columns, innerStride, columnStride));
        }

        Assert.True(MemoryMarshal.AsBytes<float>(expected).SequenceEqual(MemoryMarshal.AsBytes<float>(Elements(run, weight))));
    }

    private static float[] Elements(OpRun run, Weight weight)
    {
        using Tensor ids = run.Device.Upload<int>([.. Enumerable.Range(0, weight.Columns)], weight.Columns);
        using Tensor rows = run.Device.Allocate(ElementType.F32, weight.Columns, weight.Inner);
        run.Device.Run(new Embed { Ids = ids, Table = weight, Out = rows });
        float[] columns = rows.ToArray<float>();
        return [.. columns.Select((_, i) => columns[i % weight.Columns * weight.Inner + i / weight.Columns])];
    }

    private sealed class ForeignWeight() : Weight(ElementType.F32, 2, 2)
    {
        public override long Bytes => 0;

        protected override void Dispose(bool disposing)
        {
        }
    }
}
