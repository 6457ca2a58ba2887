using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>How a GPU is chosen and refused, and that it gives back what it took.</summary>
public sealed class GpuDeviceTests
{
    private static readonly CudaGpu s_old = new(0, "Tesla V100", new Version(7, 0), 16L << 30, new Version(12, 2));

    [Fact]
    public void A_gpu_that_is_not_there_is_a_clear_error()
    {
        var error = Assert.Throws<DeviceException>(() => Device.Cuda(1234));
        Assert.Contains("cuda:1234", error.Message, StringComparison.Ordinal);
        Assert.Contains("Device.Cpu()", error.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_driver_there_are_no_gpus()
    {
        Assert.SkipWhen(CudaGpu.DriverDefect is null, "this machine has a driver");
        Assert.Empty(CudaGpu.All);
        var error = Assert.Throws<DeviceException>(() => Device.Cuda());
        Assert.Contains(CudaGpu.DriverDefect, error.Message, StringComparison.Ordinal);
        Assert.Contains("nvidia-smi", error.Hint, StringComparison.Ordinal);
        using Device best = Device.Best();
        Assert.IsNotType<GpuDevice>(best);
    }

    [Theory]
    [InlineData("7.5", false)]
    [InlineData("8.0", true)]
    [InlineData("9.0", true)]
    [InlineData("12.0", true)]
    public void Old_architectures_are_refused(string architecture, bool usable)
    {
        CudaGpu gpu = s_old with { Architecture = Version.Parse(architecture) };
        Assert.Equal(usable, gpu.Defect is null);
        Assert.True(usable || gpu.Defect!.Contains("at least 8.0", StringComparison.Ordinal));
    }

    [Fact]
    public void The_drivers_errors_are_ours()
    {
        Action<int, string> launcher = KernelFactory.Guarded<Action<int, string>>(
            (number, _) => throw (number == 0 ? new CudaException("an illegal memory access") : new InvalidOperationException()));
        var error = Assert.Throws<DeviceException>(() => launcher(0, ""));
        Assert.Contains("an illegal memory access", error.Message, StringComparison.Ordinal);
        Assert.IsType<CudaException>(error.InnerException);
        Assert.Throws<InvalidOperationException>(() => launcher(1, ""));
    }

    [Fact]
    public void Nothing_leaks()
    {
        using SimulatedPlatform platform = SimulatedPlatform.Create();
        var device = new GpuDevice(platform);
        int before = platform.Buffers;
        for (int i = 0; i < 3; i++)
        {
            Use(device);
        }

        Assert.Equal(0, device.Arena.LiveBytes);
        device.Arena.Trim();
        Assert.Equal(before, platform.Buffers);
        Assert.Throws<DeviceException>(() => device.CreateWeight(1 << 30, 1 << 20));
        Tensor outlives = device.Allocate(ElementType.F32, 5);
        Weight weight = device.CreateWeight(3, 4);
        Assert.Equal(before + 2, platform.Buffers);
        device.Dispose();
        outlives.Dispose();
        weight.Dispose();
        Assert.Equal(0, platform.Buffers);
    }

    [Fact]
    public void Another_devices_tensors_and_weights_are_refused()
    {
        using var device = new GpuDevice(SimulatedPlatform.Create());
        using Device other = Device.Reference();
        using Tensor mine = device.Allocate(ElementType.F32, 2, 2), theirs = other.Allocate(ElementType.F32, 2, 2);
        using Weight foreign = other.CreateWeight(2, 2);
        Assert.Throws<ArgumentException>(() => device.Run(new Add { A = mine, B = theirs, Out = mine }));
        Assert.Throws<ArgumentException>(() => device.Run(new MatMul { X = mine, W = foreign, Out = mine }));
    }

    [Fact]
    public void An_index_past_its_table_is_reported_once_when_results_are_read()
    {
        using var device = new GpuDevice(SimulatedPlatform.Create());
        using Weight table = device.CreateWeight(4, 3);
        using Tensor index = device.Upload<int>([3], 1), good = device.Upload<int>([2], 1), y = device.Allocate(ElementType.F32, 1, 4);
        device.Run(new Embed { Ids = index, Table = table, Out = y });
        var error = Assert.Throws<ArgumentException>(() => y.ToArray<float>());
        Assert.Contains("Embed: an index lies past the end", error.Message, StringComparison.Ordinal);
        Assert.Equal(new float[4], y.ToArray<float>());
        device.Run(new Embed { Ids = good, Table = table, Out = y });
        device.Synchronize();
    }

    private static void Use(Device device)
    {
        using Weight weight = device.CreateWeight(40, 9, ElementType.I8);
        using Tensor x = device.Upload<float>(new float[80], 2, 40), y = device.Allocate(ElementType.F32, 2, 9);
        using Tensor values = device.Allocate(ElementType.F32, 2, 3), indices = device.Allocate(ElementType.I32, 2, 3);
        device.Run(new MatMul { X = x, W = weight, Out = y });
        device.Run(new TopK { X = y, Values = values, Indices = indices });
        device.Run(new Route { Logits = y, Score = RouterScore.Sigmoid, Indices = indices, Weights = values });
    }
}
