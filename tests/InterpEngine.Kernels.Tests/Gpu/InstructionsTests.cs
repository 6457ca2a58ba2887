using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Reference;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>PTX instructions of our own: the text that is written, and what their C# bodies compute.</summary>
public sealed class InstructionsTests
{
    private static readonly Random Random = new(6);

    [Theory]
    [InlineData(nameof(MultiplyBf16), "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 1)]
    [InlineData(nameof(MultiplyTf32), "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 1)]
    [InlineData(nameof(LoadMatrices), "ldmatrix.sync.aligned.m8n8.x4.shared.b16", 1)]
    [InlineData(nameof(LoadMatrices), "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", 1)]
    [InlineData(nameof(CopyInTwoGroups), "cp.async.cg.shared.global", 2)]
    [InlineData(nameof(CopyInTwoGroups), "cp.async.commit_group", 2)]
    [InlineData(nameof(CopyInTwoGroups), "cp.async.wait_group 1", 1)]
    [InlineData(nameof(CopyInTwoGroups), "cp.async.wait_group 0", 1)]
    [InlineData(nameof(Scalars), "cvt.rn.bf16x2.f32", 1)]
    [InlineData(nameof(Scalars), "cvt.rna.tf32.f32", 1)]
    [InlineData(nameof(Scalars), "ex2.approx.ftz.f32", 1)]
    public void Is_one_instruction_on_registers(string kernel, string instruction, int times)
    {
        string ptx = Compile(kernel);
        Assert.Equal(times, ptx.Split(instruction).Length - 1);
        Assert.DoesNotContain(".local", ptx, StringComparison.Ordinal);
        Assert.DoesNotContain("cvta.to.shared", ptx, StringComparison.Ordinal); // spaces are known: no conversions
    }

    [Fact]
    public void Bf16_products_sum_pairs_of_sixteen()
    {
        float[] a = Values(16 * 16), b = Values(16 * 8), c = Values(16 * 8);
        var fragments = new uint[32 * 6];
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane / 4, t = lane % 4;
            for (int r = 0; r < 4; r++)
            {
                int at = (g + 8 * (r % 2)) * 16 + 2 * t + 8 * (r / 2);
                fragments[lane * 6 + r] = Ptx.PackBf16(a[at], a[at + 1]);
            }

            for (int r = 0; r < 2; r++)
            {
                int k = 2 * t + 8 * r;
                fragments[lane * 6 + 4 + r] = Ptx.PackBf16(b[k * 8 + g], b[(k + 1) * 8 + g]);
            }
        }

        Compare(Multiply(MultiplyBf16, fragments, c), a, b, c, 16, LowPrecision.RoundToBFloat16);
    }

    [Fact]
    public void Tf32_products_sum_eight()
    {
        float[] a = Values(16 * 8), b = Values(8 * 8), c = Values(16 * 8);
        var fragments = new uint[32 * 6];
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane / 4, t = lane % 4;
            for (int r = 0; r < 4; r++)
            {
                fragments[lane * 6 + r] = Ptx.RoundToTf32(a[(g + 8 * (r % 2)) * 8 + t + 4 * (r / 2)]);
            }

            for (int r = 0; r < 2; r++)
            {
                fragments[lane * 6 + 4 + r] = Ptx.RoundToTf32(b[(t + 4 * r) * 8 + g]);
            }
        }

        Compare(Multiply(MultiplyTf32, fragments, c), a, b, c, 8, RoundToTf32);
    }

    [Fact]
    public void Matrices_are_dealt_as_they_lie_and_transposed()
    {
        ushort[] elements = [.. Enumerable.Range(0, 32 * 8).Select(i => (ushort)i)];
        uint[] packed = [.. elements.Chunk(2).Select(pair => pair[0] | (uint)pair[1] << 16)], dealt = new uint[32 * 8];
        Run((accelerator, stream) =>
        {
            using MemoryBuffer1D<uint, Stride1D.Dense> from = accelerator.Allocate1D(packed), to = accelerator.Allocate1D(dealt);
            accelerator.LoadKernel<ArrayView<uint>, ArrayView<uint>>(LoadMatrices)(stream, (1, 32), from.View, to.View);
            to.CopyToCPU(dealt);
        });
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane / 4, t = lane % 4;
            for (int m = 0; m < 4; m++)
            {
                uint Pair(int first, int second) => elements[m * 64 + first] | (uint)elements[m * 64 + second] << 16;
                Assert.Equal(Pair(g * 8 + 2 * t, g * 8 + 2 * t + 1), dealt[lane * 8 + m]);
                Assert.Equal(Pair(2 * t * 8 + g, (2 * t + 1) * 8 + g), dealt[lane * 8 + 4 + m]);
            }
        }
    }

    [Fact]
    public void A_copy_arrives_when_it_is_waited_for_and_not_before()
    {
        uint[] values = [.. Enumerable.Range(1, 8).Select(i => (uint)i)], seen = new uint[16];
        Run((accelerator, stream) =>
        {
            using MemoryBuffer1D<uint, Stride1D.Dense> from = accelerator.Allocate1D(values), to = accelerator.Allocate1D(seen);
            accelerator.LoadKernel<ArrayView<uint>, ArrayView<uint>>(CopyInTwoGroups)(stream, (1, 1), from.View, to.View);
            to.CopyToCPU(seen);
        });
        Assert.Equal([1, 2, 3, 4, 99, 99, 99, 99, 1, 2, 3, 4, 5, 0, 0, 0], seen); // the second copy has four bytes and zeros
    }

    [Fact]
    public void Roundings_are_to_the_nearest()
    {
        float[] values = [0, -0f, 1, 1.00390625f, 1.01171875f, -3.14159f, 3e38f, 1e-40f, float.PositiveInfinity, .. Values(100)];
        foreach (float value in values)
        {
            uint rounded = BitConverter.SingleToUInt32Bits(LowPrecision.RoundToBFloat16(value));
            Assert.Equal(rounded >> 16, Ptx.PackBf16(value, 7) & 0xffff);
            Assert.Equal(rounded, Ptx.PackBf16(7, value) & 0xffff0000);
            Assert.Equal(RoundToTf32(value), BitConverter.UInt32BitsToSingle(Ptx.RoundToTf32(value)));
        }

        Assert.Equal(0x7fffu, Ptx.PackBf16(float.NaN, 0));
        Assert.True(float.IsNaN(BitConverter.UInt32BitsToSingle(Ptx.RoundToTf32(float.NaN))));
    }

    internal static void MultiplyBf16(ArrayView<uint> fragments, ArrayView<float> sums)
    {
        int f = Group.IdxX * 6, s = Group.IdxX * 4;
        Store(sums, s, Ptx.MmaBf16(
            sums[s], sums[s + 1], sums[s + 2], sums[s + 3],
            fragments[f], fragments[f + 1], fragments[f + 2], fragments[f + 3], fragments[f + 4], fragments[f + 5]));
    }

    internal static void MultiplyTf32(ArrayView<uint> fragments, ArrayView<float> sums)
    {
        int f = Group.IdxX * 6, s = Group.IdxX * 4;
        Store(sums, s, Ptx.MmaTf32(
            sums[s], sums[s + 1], sums[s + 2], sums[s + 3],
            fragments[f], fragments[f + 1], fragments[f + 2], fragments[f + 3], fragments[f + 4], fragments[f + 5]));
    }

    internal static void LoadMatrices(ArrayView<uint> from, ArrayView<uint> to)
    {
        ArrayView<uint> shared = SharedMemory.Allocate1D<uint>(128).BaseView;
        int lane = Group.IdxX;
        for (int i = 0; i < 4; i++)
        {
            shared[lane * 4 + i] = from[lane * 4 + i];
        }

        Group.Barrier();
        Bits4 rows = Ptx.LdMatrixX4(ref shared[lane * 4]), columns = Ptx.LdMatrixX4Transposed(ref shared[lane * 4]);
        Store(to, lane * 8, rows);
        Store(to, lane * 8 + 4, columns);
    }

    internal static void CopyInTwoGroups(ArrayView<uint> from, ArrayView<uint> to)
    {
        ArrayView<uint> shared = SharedMemory.Allocate1D<uint>(8).BaseView;
        for (int i = 0; i < 8; i++)
        {
            shared[i] = 99;
        }

        Ptx.CpAsync16(ref shared[0], ref from[0], 16);
        Ptx.CpAsyncCommit();
        Ptx.CpAsync16(ref shared[4], ref from[4], 4);
        Ptx.CpAsyncCommit();
        Ptx.CpAsyncWaitAllButOne();
        for (int i = 0; i < 8; i++)
        {
            to[i] = shared[i];
        }

        Ptx.CpAsyncWaitAll();
        for (int i = 0; i < 8; i++)
        {
            to[8 + i] = shared[i];
        }
    }

    internal static void Scalars(ArrayView<float> x, ArrayView<uint> bits)
    {
        bits[0] = Ptx.PackBf16(x[0], x[1]);
        bits[1] = Ptx.RoundToTf32(x[0]);
        x[0] = Ptx.Fma(x[0], x[1], x[2]);
        x[1] = Ptx.Exp2(x[1]);
    }

    private static void Store(ArrayView<uint> to, int start, Bits4 bits)
    {
        to[start] = bits.X;
        to[start + 1] = bits.Y;
        to[start + 2] = bits.Z;
        to[start + 3] = bits.W;
    }

    private static void Store(ArrayView<float> to, int start, Sum4 sum)
    {
        to[start] = sum.X;
        to[start + 1] = sum.Y;
        to[start + 2] = sum.Z;
        to[start + 3] = sum.W;
    }

    private static string Compile(string kernel)
    {
        using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O2).EnablePtx());
        using var backend = new PTXBackend(
            context, new CudaCapabilityContext(CudaArchitecture.SM_80), CudaArchitecture.SM_80, CudaInstructionSet.ISA_78, null);
        var method = typeof(InstructionsTests).GetMethod(
            kernel, System.Reflection.BindingFlags.Static | System.Reflection.BindingFlags.NonPublic)!;
        var entry = EntryPointDescription.FromExplicitlyGroupedKernel(method);
        return ((PTXCompiledKernel)backend.Compile(entry, new KernelSpecialization(32, 1))).PTXAssembly;
    }

    private static void Run(Action<Accelerator, AcceleratorStream> body)
    {
        using Context context = Context.Create(builder => builder.CPU(new CPUDevice(32, 1, 1)).EnablePtx());
        using CPUAccelerator accelerator = context.CreateCPUAccelerator(0, CPUAcceleratorMode.Parallel);
        body(accelerator, accelerator.DefaultStream);
    }

    private static float[] Multiply(Action<ArrayView<uint>, ArrayView<float>> kernel, uint[] fragments, float[] c)
    {
        float[] sums = [.. from lane in Enumerable.Range(0, 32) from r in Enumerable.Range(0, 4) select c[Element(lane, r)]];
        Run((accelerator, stream) =>
        {
            using MemoryBuffer1D<uint, Stride1D.Dense> from = accelerator.Allocate1D(fragments);
            using MemoryBuffer1D<float, Stride1D.Dense> to = accelerator.Allocate1D(sums);
            accelerator.LoadKernel(kernel)(stream, (1, 32), from.View, to.View);
            to.CopyToCPU(sums);
        });
        return sums;
    }

    private static void Compare(float[] sums, float[] a, float[] b, float[] c, int inner, Func<float, float> round)
    {
        for (int i = 0; i < sums.Length; i++)
        {
            int element = Element(i / 4, i % 4), row = element / 8, column = element % 8;
            double truth = c[element] + Enumerable.Range(0, inner)
                .Sum(k => (double)round(a[row * inner + k]) * round(b[k * 8 + column]));
            Assert.Equal(truth, sums[i], 1e-5);
        }
    }

    /// <summary>Where a lane's sum lies in the 16×8 matrix.</summary>
    private static int Element(int lane, int r) => (lane / 4 + 8 * (r / 2)) * 8 + 2 * (lane % 4) + r % 2;

    /// <summary>By arithmetic rather than bits: 11 significant bits, ties away from zero.</summary>
    private static float RoundToTf32(float value)
    {
        if (value == 0 || !float.IsFinite(value))
        {
            return value;
        }

        double unit = Math.ScaleB(1, Math.Max(Math.ILogB(value), -126) - 10);
        return (float)(Math.Round(value / unit, MidpointRounding.AwayFromZero) * unit);
    }

    private static float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => Random.NextSingle() * 2 - 1)];
}
