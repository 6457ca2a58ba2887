using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Types;
using ILGPU.IR.Values;
using Registers = ILGPU.Backends.RegisterAllocator<ILGPU.Backends.PTX.PTXRegisterKind>;

namespace InterpEngine.Kernels.Gpu.Instructions;

/// <summary>Writes the instructions of <see cref="Ptx"/>: one generator for each, of the same name, as ILGPU calls
/// them.</summary>
internal static class PtxCode
{
    public static void MmaBf16(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Mma(code, value, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");

    public static void MmaTf32(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Mma(code, value, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");

    public static void LdMatrixX4(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        LdMatrix(code, value, "ldmatrix.sync.aligned.m8n8.x4.shared.b16");

    public static void LdMatrixX4Transposed(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        LdMatrix(code, value, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16");

    public static void CpAsync16(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        var call = (MethodCall)value;
        string to = Address(code, call[0], MemoryAddressSpace.Shared, "to_", out string first);
        string from = Address(code, call[1], MemoryAddressSpace.Global, "from_", out string second);
        string bytes = Input(code, call[2]);
        Write(code, $"{{ {first}{second}cp.async.cg.shared.global [{to}], [{from}], 16, {bytes}; }} //");
    }

    public static void CpAsyncCommit(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Write(code, "cp.async.commit_group");

    public static void CpAsyncWaitAll(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Write(code, "cp.async.wait_group 0");

    public static void CpAsyncWaitAllButOne(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Write(code, "cp.async.wait_group 1");

    public static void CpAsyncWaitAllButTwo(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Write(code, "cp.async.wait_group 2");

    public static void PackBf16(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        var call = (MethodCall)value;
        string low = Input(code, call[0]), high = Input(code, call[1]);
        Write(code, $"cvt.rn.bf16x2.f32 {Name(code.AllocateHardware(value))}, {high}, {low}");
    }

    public static void RoundToTf32(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "cvt.rna.tf32.f32");

    public static void Fma(PTXBackend backend, PTXCodeGenerator code, Value value) => MultiplyAdd(code, value, "fma.rn.f32");

    public static void Dot4(PTXBackend backend, PTXCodeGenerator code, Value value) => MultiplyAdd(code, value, "dp4a.s32.s32");

    public static void Exp2(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "ex2.approx.ftz.f32");

    public static void Reciprocal(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "rcp.approx.ftz.f32");

    public static void Max(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        var call = (MethodCall)value;
        string a = Input(code, call[0]), b = Input(code, call[1]);
        Write(code, $"max.f32 {Name(code.AllocateHardware(value))}, {a}, {b}");
    }

    public static void Ballot(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        string input = Input(code, ((MethodCall)value)[0]), result = Name(code.AllocateHardware(value));
        Write(code, $"{{ .reg .pred voted; setp.ne.u32 voted, {input}, 0; vote.sync.ballot.b32 {result}, voted, 0xffffffff; }} //");
    }

    public static void Otherwise(PTXBackend backend, PTXCodeGenerator code, Value value) => Write(code, "//");

    private static void Unary(PTXCodeGenerator code, Value value, string instruction)
    {
        string input = Input(code, ((MethodCall)value)[0]);
        Write(code, $"{instruction} {Name(code.AllocateHardware(value))}, {input}");
    }

    private static void MultiplyAdd(PTXCodeGenerator code, Value value, string instruction)
    {
        var call = (MethodCall)value;
        string a = Input(code, call[0]), b = Input(code, call[1]), c = Input(code, call[2]);
        Write(code, $"{instruction} {Name(code.AllocateHardware(value))}, {a}, {b}, {c}");
    }

    private static void Mma(PTXCodeGenerator code, Value value, string instruction)
    {
        var call = (MethodCall)value;
        string[] operands = [.. Enumerable.Range(0, 10).Select(i => Input(code, call[i]))];
        string sums = string.Join(", ", operands[..4]);
        string a = string.Join(", ", operands[4..8]), b = string.Join(", ", operands[8..]);
        Write(code, $"{instruction} {{{Outputs(code, value)}}}, {{{a}}}, {{{b}}}, {{{sums}}}");
    }

    private static void LdMatrix(PTXCodeGenerator code, Value value, string instruction)
    {
        string row = Address(code, ((MethodCall)value)[0], MemoryAddressSpace.Shared, "row_", out string first);
        Write(code, $"{{ {first}{instruction} {{{Outputs(code, value)}}}, [{row}]; }} //");
    }

    /// <summary>The registers of a struct that the instruction returns.</summary>
    private static string Outputs(PTXCodeGenerator code, Value value) =>
        string.Join(", ", ((Registers.CompoundRegister)code.Allocate(value)).Children.Select(Name));

    /// <summary>A register with the value; constants are moved into one first.</summary>
    private static string Input(PTXCodeGenerator code, Value value)
    {
        Registers.PrimitiveRegister register = code.LoadPrimitive(value);
        if (register is Registers.HardwareRegister)
        {
            return Name(register);
        }

        Registers.HardwareRegister constant = code.AllocateRegister(register.Description);
        using (var move = code.BeginMove())
        {
            move.AppendRegisterMovementSuffix(register.BasicValueType);
            move.AppendArgument(constant);
            move.AppendArgument(register);
        }

        return Name(constant);
    }

    /// <summary>An address in a space. ILGPU knows the space at O2; a generic address is converted in <paramref name="first"/>,
    /// which goes before the instruction, in braces with it.</summary>
    private static string Address(
        PTXCodeGenerator code, Value value, MemoryAddressSpace space, string temporary, out string first)
    {
        string pointer = Name(code.LoadHardware(value));
        if (((AddressSpaceType)value.Type).AddressSpace == space)
        {
            first = "";
            return pointer;
        }

        string suffix = space == MemoryAddressSpace.Shared ? "shared" : "global";
        first = $".reg .u64 {temporary}; cvta.to.{suffix}.u64 {temporary}, {pointer}; ";
        return temporary;
    }

    private static string Name(Registers.Register register) => register is Registers.HardwareRegister hardware
        ? "%" + PTXRegisterAllocator.GetStringRepresentation(hardware)
        : throw new NotSupportedException($"An operand lies in a {register.GetType().Name}.");

    /// <summary>Writes one line; ILGPU ends it with a semicolon, which a block in braces hides in a comment.</summary>
    private static void Write(PTXCodeGenerator code, string text)
    {
        using var command = code.BeginCommand(text);
    }
}
