using CsCheck;

namespace InterpEngine.Kernels.Tests.Memory;

public sealed class ArenaTests
{
    [Fact]
    public void Size_classes_hold_what_they_are_for_and_waste_little() => Gen.Long[0, 1L << 50].Sample(bytes =>
    {
        long size = Arena.SizeClass(bytes);
        Assert.InRange(size - bytes, 0, Math.Max(256, bytes / 8));
        Assert.Equal(0, size % 256);
        Assert.Equal(size, Arena.SizeClass(size));
        Assert.True(Arena.SizeClass(bytes + 1) >= size);
    });

    [Fact]
    public void There_are_eight_classes_in_a_doubling()
    {
        var classes = Enumerable.Range(1, 1 << 10).Select(i => Arena.SizeClass((1 << 20) + i * 1024)).ToHashSet();
        Assert.Equal(8, classes.Count);
    }

    [Fact]
    public void What_is_needed_once_is_given_back()
    {
        Assert.SkipUnless(Kernels.Cpu.CpuDevice.IsAvailable, "needs the native kernels");
        using Device device = Device.Cpu(1);
        Tensor large = device.AllocateOnce(ElementType.F32, 1 << 21), small = device.AllocateOnce(ElementType.F32, 10);
        Assert.True(device.Arena.ReservedBytes >= large.Bytes + small.Bytes);
        using (Tensor shared = large.Share())
        {
            large.Dispose();
            Assert.True(device.Arena.LiveBytes >= shared.Bytes);
        }

        small.Dispose();
        Assert.Equal((0, Arena.SizeClass(40)), (device.Arena.LiveBytes, device.Arena.ReservedBytes));
    }

    [Fact]
    public void Buffers_are_recycled()
    {
        using Device device = Device.Reference();
        for (int layer = 0; layer < 10; layer++)
        {
            using Tensor a = device.Allocate(ElementType.F32, 1000), b = device.Allocate(ElementType.F32, 1001);
            Assert.True(device.Arena.LiveBytes >= a.Bytes + b.Bytes);
        }

        Assert.Equal(0, device.Arena.LiveBytes);
        Assert.Equal(2 * Arena.SizeClass(4004), device.Arena.ReservedBytes);
        Assert.Equal(2 * Arena.SizeClass(4004), device.Arena.PeakBytes);
    }

    [Fact]
    public void The_peak_is_the_most_that_was_live_at_once()
    {
        using Device device = Device.Reference();
        long size = Arena.SizeClass(4096);
        using Tensor kept = device.Allocate(ElementType.U8, 4096);
        device.Allocate(ElementType.U8, 4096).Dispose();
        device.Allocate(ElementType.U8, 4096).Dispose();
        Assert.Equal(2 * size, device.Arena.PeakBytes);
        device.Arena.ResetPeak();
        Assert.Equal(size, device.Arena.PeakBytes);
    }

    [Fact]
    public void Trim_gives_unused_buffers_back_and_no_others()
    {
        using Device device = Device.Reference();
        using Tensor kept = device.Upload<float>([1, 2, 3], 3);
        device.Allocate(ElementType.F64, 5000).Dispose();
        Assert.True(device.Arena.ReservedBytes > device.Arena.LiveBytes);
        device.Arena.Trim();
        Assert.Equal(device.Arena.LiveBytes, device.Arena.ReservedBytes);
        Assert.Equal([1, 2, 3], kept.ToArray<float>());
    }

    [Fact]
    public void Memory_is_freed_with_the_last_of_the_tensors_on_it() =>
        Gen.Shuffle(Enumerable.Range(0, 4).ToArray()).Sample(order =>
        {
            using Device device = Device.Reference();
            Tensor tensor = device.Upload<int>([1, 2, 3, 4, 5, 6], 3, 2);
            Tensor slice = tensor.Slice(1, 2);
            Tensor[] handles = [tensor, tensor.Share(), slice, slice.Reshape(4)];
            long size = device.Arena.LiveBytes;
            foreach (int i in order)
            {
                Assert.Equal(size, device.Arena.LiveBytes);
                handles[i].Dispose();
                handles[i].Dispose();
            }

            Assert.Equal(0, device.Arena.LiveBytes);
        });

    [Fact]
    public void A_tensor_that_nobody_disposed_goes_back_when_it_is_collected()
    {
        using Device device = Device.Reference();
        AllocateAndForget(device);
        for (int i = 0; i < 10 && device.Arena.LiveBytes > 0; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.Equal(0, device.Arena.LiveBytes);
        using Tensor again = device.Allocate(ElementType.F32, 100);
        Assert.Equal(device.Arena.LiveBytes, device.Arena.ReservedBytes);
    }

    [Fact]
    public void Many_threads_may_allocate_at_once()
    {
        using Device device = Device.Reference();
        Parallel.For(0, 64, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            for (int n = 0; n < 50; n++)
            {
                using Tensor tensor = device.Upload<int>([.. Enumerable.Repeat(i, 100 + n)], 100 + n);
                Assert.DoesNotContain(tensor.ToArray<int>(), value => value != i);
            }
        });
        Assert.Equal(0, device.Arena.LiveBytes);
    }

    [Fact]
    public void Memory_that_is_not_there_is_a_clear_error_and_changes_nothing()
    {
        using Device device = Device.Reference();
        var error = Assert.Throws<DeviceException>(() => device.Allocate(ElementType.F32, 1 << 30, 1 << 20));
        Assert.Contains("4,503,599,627,370,496 bytes", error.Message);
        Assert.NotNull(error.Hint);
        Assert.Equal(0, device.Arena.LiveBytes + device.Arena.PeakBytes + device.Arena.ReservedBytes);
    }

    [Fact]
    public void A_disposed_device_allocates_nothing()
    {
        Device device = Device.Reference();
        device.Dispose();
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => device.Allocate(ElementType.F32, 1));
    }

    [Fact]
    public void A_tensor_that_outlives_its_device_still_frees_its_memory()
    {
        Device device = Device.Reference();
        Tensor tensor = device.Allocate(ElementType.F32, 100);
        device.Dispose();
        Assert.Equal(device.Arena.LiveBytes, device.Arena.ReservedBytes);
        tensor.Dispose();
        Assert.Equal(0, device.Arena.ReservedBytes);
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
    private static void AllocateAndForget(Device device)
    {
        Tensor tensor = device.Allocate(ElementType.F32, 10, 10);
        tensor.Slice(2, 3).Dispose();
        _ = tensor.Share();
        Assert.True(device.Arena.LiveBytes > 0);
    }
}
