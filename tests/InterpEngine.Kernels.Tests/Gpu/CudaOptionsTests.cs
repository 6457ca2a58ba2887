using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

public sealed class CudaOptionsTests
{
    [Fact]
    public void A_simulated_gpu_says_why_cublaslt_is_not_used()
    {
        using var device = new GpuDevice(SimulatedPlatform.Create());
        Assert.Equal("this is no NVIDIA GPU", device.CublasLtDefect);
        using var own = new GpuDevice(SimulatedPlatform.Create(), new CudaOptions { Products = ProductLibrary.Own });
        Assert.Equal("the engine's own products were asked for", own.CublasLtDefect);
    }
}
