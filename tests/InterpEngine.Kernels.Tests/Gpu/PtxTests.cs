using System.Reflection;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>
/// Every kernel at every specialisation, compiled for the architectures that are supported and, where NVIDIA's assembler is present,
/// assembled: no branch that all threads must take together, no memory where registers should do.
/// </summary>
public sealed class PtxTests(ITestOutputHelper log)
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
            // But for the reciprocal that Newton's step makes a quotient of.
            Assert.DoesNotContain(".approx", ptx.Replace("rcp.approx", "", StringComparison.Ordinal), StringComparison.Ordinal);
        }

        if (architecture == 90)
        {
            Assert.Equal(ptx, Compile(name, architecture)); // so that NVIDIA's cache of assembled kernels finds it again
        }

        if (Ptxas.Path is null)
        {
            log.WriteLine("ptxas is absent (PATH, CUDA_PATH, the cache that scripts/fetch-ptxas.sh fills): not assembled.");
            return;
        }

        string report = Ptxas.Assemble(ptx, architecture);
        log.WriteLine(report);
        Assert.Contains("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", report, StringComparison.Ordinal);
    }

    private static string Compile(string name, int architecture) => KernelFactory.Compile(
        s_kernels[name], architecture == 80 ? CudaArchitecture.SM_80 : CudaArchitecture.SM_90, CudaInstructionSet.ISA_78).Ptx;
}
