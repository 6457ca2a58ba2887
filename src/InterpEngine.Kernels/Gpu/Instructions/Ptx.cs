using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace InterpEngine.Kernels.Gpu.Instructions;

/// <summary>
/// PTX instructions that ILGPU has no name for. Each is a method whose C# body is what the CPU accelerator runs and what the
/// tests check, and a generator (<see cref="PtxCode"/>) that writes the instruction. Operands and results stay in registers;
/// ILGPU's inline assembly would send them through local memory.
/// </summary>
/// <remarks>Lane l of a warp is (g, t) = (l / 4, l % 4) below. Instructions of a whole warp must be reached by all 32
/// lanes.</remarks>
internal static unsafe class Ptx
{
    /// <summary>Registers every instruction with a context that is being built.</summary>
    public static Context.Builder EnablePtx(this Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        foreach (MethodInfo method in typeof(Ptx).GetMethods(BindingFlags.Public | BindingFlags.Static))
        {
            if (method.IsDefined(typeof(IntrinsicImplementationAttribute)))
            {
                MethodInfo generator = typeof(PtxCode).GetMethod(method.Name)
                    ?? throw new InvalidOperationException($"The PTX instruction {method.Name} has no generator.");
                manager.RegisterMethod(method, new PTXIntrinsic(generator, IntrinsicImplementationMode.GenerateCode, false));
            }
        }

        return builder;
    }

    /// <summary>C + A·B with A [16, 16] by rows and B [16, 8] by columns in BF16. A lane holds pairs of A at (g, 2t), (g + 8,
    /// 2t), (g, 2t + 8), (g + 8, 2t + 8) and of B at (2t, g), (2t + 8, g). Sums are fp32.</summary>
    [IntrinsicImplementation]
    public static Sum4 MmaBf16(
        float c0, float c1, float c2, float c3, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) =>
        WarpExchange.Multiply(new() { X = c0, Y = c1, Z = c2, W = c3 }, [a0, a1, a2, a3, b0, b1], 2);

    /// <summary>C + A·B with A [16, 8] by rows and B [8, 8] by columns in TF32. A lane holds A at (g, t), (g + 8, t), (g, t + 4),
    /// (g + 8, t + 4) and B at (t, g), (t + 4, g). Sums are fp32.</summary>
    [IntrinsicImplementation]
    public static Sum4 MmaTf32(
        float c0, float c1, float c2, float c3, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) =>
        WarpExchange.Multiply(new() { X = c0, Y = c1, Z = c2, W = c3 }, [a0, a1, a2, a3, b0, b1], 1);

    /// <summary>Four 8×8 matrices of 16-bit elements from shared memory: lane l gives the address of row l % 8 of matrix l / 8,
    /// 16 aligned bytes; lane (g, t) receives elements 2t and 2t + 1 of row g of each.</summary>
    [IntrinsicImplementation]
    public static Bits4 LdMatrixX4(ref uint row) => WarpExchange.Load(ref row, transposed: false);

    /// <summary>As <see cref="LdMatrixX4"/>, each matrix transposed: lane (g, t) receives rows 2t and 2t + 1 of column
    /// g.</summary>
    [IntrinsicImplementation]
    public static Bits4 LdMatrixX4Transposed(ref uint row) => WarpExchange.Load(ref row, transposed: true);

    /// <summary>Begins to copy 16 aligned bytes from global to shared memory. Only the first <paramref name="bytes"/> of them, 0
    /// to 16, are read; the others become zero.</summary>
    [IntrinsicImplementation]
    public static void CpAsync16(ref uint destination, ref uint source, int bytes) =>
        AsyncCopies.Begin(ref destination, ref source, bytes);

    /// <summary>Makes one group of the copies that were begun since the last.</summary>
    [IntrinsicImplementation]
    public static void CpAsyncCommit() => AsyncCopies.Commit();

    /// <summary>Waits for all groups of this thread.</summary>
    [IntrinsicImplementation]
    public static void CpAsyncWaitAll() => AsyncCopies.Wait(0);

    /// <summary>Waits for all groups of this thread but the last.</summary>
    [IntrinsicImplementation]
    public static void CpAsyncWaitAllButOne() => AsyncCopies.Wait(1);

    /// <summary>Waits for all groups of this thread but the last two.</summary>
    [IntrinsicImplementation]
    public static void CpAsyncWaitAllButTwo() => AsyncCopies.Wait(2);

    /// <summary>Two numbers rounded to BF16, to the nearest, ties to even; NaN becomes 0x7fff.</summary>
    [IntrinsicImplementation]
    public static uint PackBf16(float low, float high) => RoundToBf16(low) | RoundToBf16(high) << 16;

    /// <summary>A number rounded to TF32 (10 fraction bits), to the nearest, ties away from zero.</summary>
    [IntrinsicImplementation]
    public static uint RoundToTf32(float value) => float.IsNaN(value)
        ? 0x7fffffff
        : BitConverter.SingleToUInt32Bits(value) + (float.IsFinite(value) ? 0x1000u : 0) & 0xffffe000;

    /// <summary>a·b + c, rounded once.</summary>
    [IntrinsicImplementation]
    public static float Fma(float a, float b, float c) => MathF.FusedMultiplyAdd(a, b, c);

    /// <summary>c and the products of the four signed bytes of a and b.</summary>
    [IntrinsicImplementation]
    public static int Dot4(int a, int b, int c)
    {
        for (int shift = 0; shift < 32; shift += 8)
        {
            c += (sbyte)(a >> shift) * (sbyte)(b >> shift);
        }

        return c;
    }

    /// <summary>2ˣ with a relative error below 2⁻²²; subnormal numbers are zero.</summary>
    [IntrinsicImplementation]
    public static float Exp2(float x) => x < -126 ? 0 : (float)Math.Pow(2, x);

    /// <summary>1/x with a relative error below 2⁻²²; subnormal numbers are zero.</summary>
    [IntrinsicImplementation]
    public static float Reciprocal(float x) => 1 / x;

    /// <summary>The larger one; NaN only where both are.</summary>
    [IntrinsicImplementation]
    public static float Max(float a, float b) => float.MaxNumber(a, b);

    /// <summary>One bit for each lane of the warp whose value is not zero.</summary>
    [IntrinsicImplementation]
    public static uint Ballot(uint value) => WarpExchange.Ballot(value);

    /// <summary>
    /// Nothing, in an else branch of its own. Where a branch changes many variables, ILGPU writes the moves for the case that it does
    /// not run before the branch itself, where the old and the new variables take twice the registers; with this, behind it.
    /// </summary>
    [IntrinsicImplementation]
    public static void Otherwise()
    {
    }

    private static uint RoundToBf16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? 0x7fff : bits + 0x7fff + (bits >> 16 & 1) >> 16;
    }
}
