using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Every kernel at every specialisation, compiled for the architectures that are supported, without a GPU.</summary>
public sealed class PtxTests
{
    private static readonly Dictionary<string, MethodInfo> s_kernels = KernelList.All();

    public static IEnumerable<TheoryDataRow<string, int>> Kernels() =>
        from name in s_kernels.Keys
        from architecture in (int[])[80, 90]
        select new TheoryDataRow<string, int>(name, architecture);

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Compiles(string name, int architecture)
    {
        string ptx = Compile(name, architecture);
        Assert.DoesNotContain(".uni", ptx, StringComparison.Ordinal);
        Assert.DoesNotContain(".local", ptx, StringComparison.Ordinal);
        Assert.Contains(".target sm_80", ptx, StringComparison.Ordinal);
        if (!name.StartsWith("TensorAttention", StringComparison.Ordinal)) // which rounds to BF16 anyway
        {
            Assert.DoesNotContain(".approx", ptx, StringComparison.Ordinal);
        }
    }

    internal static string Compile(string name, int architecture)
    {
        using var context = Context.Create(builder => KernelFactory.Configure(builder));
        CudaArchitecture target = architecture == 80 ? CudaArchitecture.SM_80 : CudaArchitecture.SM_90;
        using var backend = new PTXBackend(context, new CudaCapabilityContext(target), target, CudaInstructionSet.ISA_78, null);
        return KernelFactory.Compile(context, backend, s_kernels[name]).PTXAssembly;
    }
}
