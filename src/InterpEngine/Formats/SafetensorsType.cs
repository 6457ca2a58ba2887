using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using InterpEngine.Kernels;

namespace InterpEngine.Formats;

/// <summary>What one element of a stored tensor is: every dtype of safetensors 0.8, under the format's own names.</summary>
[SuppressMessage("Naming", "CA1707:Identifiers should not contain underscores", Justification = "The format's own names.")]
public enum SafetensorsType
{
    /// <summary>One byte; any value but zero is true.</summary>
    BOOL,

    /// <summary>4-bit float, two elements a byte.</summary>
    F4,

    /// <summary>6-bit float: 2 exponent and 3 fraction bits.</summary>
    F6_E2M3,

    /// <summary>6-bit float: 3 exponent and 2 fraction bits.</summary>
    F6_E3M2,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>8-bit float: 5 exponent and 2 fraction bits.</summary>
    F8_E5M2,

    /// <summary>8-bit float: 4 exponent and 3 fraction bits.</summary>
    F8_E4M3,

    /// <summary>8-bit scale: an exponent alone.</summary>
    F8_E8M0,

    /// <summary>As <see cref="F8_E4M3"/>, without infinities, with one zero and one NaN.</summary>
    F8_E4M3FNUZ,

    /// <summary>As <see cref="F8_E5M2"/>, without infinities, with one zero and one NaN.</summary>
    F8_E5M2FNUZ,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>Unsigned 16-bit integer.</summary>
    U16,

    /// <summary>IEEE half precision.</summary>
    F16,

    /// <summary>The upper half of a single.</summary>
    BF16,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>Unsigned 32-bit integer.</summary>
    U32,

    /// <summary>IEEE single precision.</summary>
    F32,

    /// <summary>Complex number of two singles.</summary>
    C64,

    /// <summary>IEEE double precision.</summary>
    F64,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>Unsigned 64-bit integer.</summary>
    U64,
}

/// <summary>Sizes and counterparts of stored types.</summary>
public static class SafetensorsTypes
{
    private static readonly FrozenDictionary<string, SafetensorsType> s_byName =
        Enum.GetValues<SafetensorsType>().ToFrozenDictionary(type => type.ToString(), StringComparer.Ordinal);

    /// <summary>Bits of one element; less than 8 where several share a byte.</summary>
    public static int Bits(this SafetensorsType type) => type switch
    {
        SafetensorsType.F4 => 4,
        SafetensorsType.F6_E2M3 or SafetensorsType.F6_E3M2 => 6,
        SafetensorsType.BOOL or SafetensorsType.U8 or SafetensorsType.I8 => 8,
        SafetensorsType.F8_E5M2 or SafetensorsType.F8_E4M3 or SafetensorsType.F8_E8M0 => 8,
        SafetensorsType.F8_E4M3FNUZ or SafetensorsType.F8_E5M2FNUZ => 8,
        SafetensorsType.I16 or SafetensorsType.U16 or SafetensorsType.F16 or SafetensorsType.BF16 => 16,
        SafetensorsType.I32 or SafetensorsType.U32 or SafetensorsType.F32 => 32,
        SafetensorsType.C64 or SafetensorsType.F64 or SafetensorsType.I64 or SafetensorsType.U64 => 64,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, null),
    };

    /// <summary>The engine's type with the same bits, or null where the engine has none.</summary>
    public static ElementType? ToElementType(this SafetensorsType type) => type switch
    {
        SafetensorsType.F32 => ElementType.F32,
        SafetensorsType.F64 => ElementType.F64,
        SafetensorsType.F16 => ElementType.F16,
        SafetensorsType.BF16 => ElementType.BF16,
        SafetensorsType.I8 => ElementType.I8,
        SafetensorsType.U8 => ElementType.U8,
        SafetensorsType.I16 => ElementType.I16,
        SafetensorsType.I32 => ElementType.I32,
        SafetensorsType.I64 => ElementType.I64,
        _ => null,
    };

    /// <summary>The stored type with the same bits.</summary>
    public static SafetensorsType ToSafetensorsType(this ElementType type) => s_byName[type.ToString()];

    /// <summary>The type of that exact name.</summary>
    internal static bool TryParse(string name, out SafetensorsType type) => s_byName.TryGetValue(name, out type);
}
