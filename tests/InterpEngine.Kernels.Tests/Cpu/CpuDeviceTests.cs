using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Kernels.Tests.Cpu;

/// <summary>How the native device is chosen, named and refused.</summary>
public sealed class CpuDeviceTests
{
    [Fact]
    public void The_library_is_the_one_that_this_assembly_was_built_for() => Assert.Null(NativeMethods.Defect);

    [Fact]
    public void Every_machine_has_the_scalar_kernels() => Assert.Equal(InstructionSet.Scalar, CpuDevice.InstructionSets[0]);

    [Fact]
    public void A_device_says_what_it_is()
    {
        using var device = new CpuDevice(3, InstructionSet.Scalar);
        Assert.Equal("cpu (scalar, 3 threads)", device.Name);
        Assert.Equal(3, device.Threads);
        Assert.Equal(InstructionSet.Scalar, device.InstructionSet);
    }

    [Fact]
    public void Zero_threads_are_all_that_the_process_may_use()
    {
        using var device = new CpuDevice();
        Assert.InRange(device.Threads, 1, Environment.ProcessorCount);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(1000000)]
    public void Absurd_numbers_of_threads_are_refused(int threads) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new CpuDevice(threads));

    [Fact]
    public void An_unknown_instruction_set_is_a_clear_error()
    {
        var error = Assert.Throws<DeviceException>(() => new CpuDevice(1, (InstructionSet)99));
        Assert.Contains("scalar", error.Message, StringComparison.Ordinal);
        Assert.NotNull(error.Hint);
    }

    /// <summary>The only test that touches the variable; an explicit choice wins over it.</summary>
    [Fact]
    public void The_environment_chooses_the_instruction_set()
    {
        const string variable = "INTERP_ISA";
        string? before = Environment.GetEnvironmentVariable(variable);
        try
        {
            Environment.SetEnvironmentVariable(variable, "scalar");
            using (var device = new CpuDevice(1))
            {
                Assert.Equal(InstructionSet.Scalar, device.InstructionSet);
            }

            Environment.SetEnvironmentVariable(variable, "mmx");
            var error = Assert.Throws<DeviceException>(() => new CpuDevice(1));
            Assert.Contains("mmx", error.Message, StringComparison.Ordinal);
            Assert.Contains(variable, error.Message, StringComparison.Ordinal);
            new CpuDevice(1, InstructionSet.Scalar).Dispose();
        }
        finally
        {
            Environment.SetEnvironmentVariable(variable, before);
        }
    }

    [Fact]
    public void A_disposed_device_is_refused()
    {
        var device = new CpuDevice(1);
        Tensor x = device.Upload<float>([1], 1);
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => device.Run(new Fill { Out = x, Value = 2 }));
    }

    [Fact]
    public void The_machine_is_measured()
    {
        using var device = new CpuDevice();
        Assert.True(device.MeasureGigaflops() > 0.1);
        Assert.True(device.MeasureGigaflops(ElementType.BF16) > 0.1);
        Assert.True(device.MeasureBandwidth() > 0.1);
    }

    [Fact]
    public void An_index_past_its_table_is_refused()
    {
        using var device = new CpuDevice(1);
        using Weight table = device.CreateWeight(4, 3);
        using Tensor index = device.Upload<int>([3], 1), x = device.Upload<float>([1, 2, 3], 1, 3);
        using Tensor four = device.Allocate(ElementType.F32, 1, 1, 4), rows = device.Allocate(ElementType.F32, 3, 2);
        using Tensor one = device.Allocate(ElementType.F32, 1);
        Assert.Throws<ArgumentException>(() => device.Run(new Embed { Ids = index, Table = table, Out = four }));
        Assert.Throws<ArgumentException>(() => device.Run(new LogProbability { X = x, Targets = index, Out = one }));
        Assert.Throws<ArgumentException>(() =>
            device.Run(new Rotary { X = four, Positions = index, Cos = rows, Sin = rows, Out = four }));
    }

    [Fact]
    public void Another_devices_weight_is_refused()
    {
        using var device = new CpuDevice(1);
        using Device other = Device.Reference();
        using Weight weight = other.CreateWeight(1, 1);
        using Tensor x = device.Upload<float>([1], 1, 1);
        Assert.Throws<ArgumentException>(() => device.Run(new MatMul { X = x, W = weight, Out = x }));
    }
}
