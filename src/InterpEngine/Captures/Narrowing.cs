using System.Numerics;
using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Captures;

/// <summary>
/// Singles to the narrower types that a capture may be stored in. What each means stands in docs/capture-format.md; whole vectors and
/// the elements behind them go through the same operations.
/// </summary>
public static class Narrowing
{
    private const uint Sign = 0x8000_0000, Infinity = 0x7f80_0000;

    // To be added to a single of magnitude below 2^22, it rounds it to an integer, which then stands in the low bits.
    private const float Rounder = 12582912;

    /// <summary>The tensor beside one of type I8 that holds what its rows are to be multiplied by.</summary>
    public static string ScaleName(string tensor) => $"{tensor}.scale";

    /// <summary>Elements of a tensor of type I8, whole rows of its last axis, times the scales of their rows.</summary>
    /// <param name="entry">The tensor.</param>
    /// <param name="scales">The tensor <see cref="ScaleName"/> beside it.</param>
    /// <param name="first">The first element, in row-major order.</param>
    /// <param name="count">How many.</param>
    /// <exception cref="InvalidFileException">There is not a scale for every row, or the file cannot be read or has become shorter.</exception>
    internal static float[] Load(SafetensorsEntry entry, SafetensorsEntry scales, long first, int count)
    {
        int columns = (int)entry.Shape[^1];
        if (scales.Type != SafetensorsType.F32 || scales.Count != entry.Count / columns)
        {
            throw new InvalidFileException(
                entry.File.Path, $"{InputFile.Quote(scales.Name)} does not have a scale for every row", "Capture it again.");
        }

        float[] factors = scales.ToSingles(first / columns, count / columns), values = new float[count];
        var stored = new sbyte[count];
        entry.File.Read(entry.Offset + first, MemoryMarshal.AsBytes(stored.AsSpan()));
        for (int i = 0; i < count; i++)
        {
            values[i] = stored[i] * factors[i / columns];
        }

        return values;
    }

    /// <summary>Converts rows.</summary>
    /// <param name="type">F32, BF16, F16 or I8.</param>
    /// <param name="values">[rows, columns].</param>
    /// <param name="rows">How many there are.</param>
    /// <param name="stored">[rows, columns] of that type: what to store.</param>
    /// <param name="scales">[rows] for I8, what to multiply the rows by; else not touched.</param>
    public static void Store(SafetensorsType type, ReadOnlySpan<float> values, int rows, Span<byte> stored, Span<float> scales)
    {
        switch (type)
        {
            case SafetensorsType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(stored);
                break;
            case SafetensorsType.BF16:
                ToBF16(values, MemoryMarshal.Cast<byte, ushort>(stored));
                break;
            case SafetensorsType.F16:
                ToF16(values, MemoryMarshal.Cast<byte, ushort>(stored));
                break;
            case SafetensorsType.I8:
                for (int row = 0, columns = rows == 0 ? 0 : values.Length / rows; row < rows; row++)
                {
                    Span<byte> to = stored.Slice(row * columns, columns);
                    scales[row] = ToI8(values.Slice(row * columns, columns), MemoryMarshal.Cast<byte, sbyte>(to));
                }

                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Expected F32, BF16, F16 or I8.");
        }
    }

    /// <summary>Rounds to nearest, ties to even; NaN stays NaN.</summary>
    internal static void ToBF16(ReadOnlySpan<float> from, Span<ushort> to) => ToHalves<BF16>(from, to);

    /// <summary>Rounds to nearest, ties to even; from 65520 on to infinity; NaN stays NaN.</summary>
    internal static void ToF16(ReadOnlySpan<float> from, Span<ushort> to) => ToHalves<F16>(from, to);

    /// <summary>
    /// Rounds to multiples of the row's largest magnitude / 127, ties to even. A row with NaN or infinity becomes zeros with the scale
    /// NaN.
    /// </summary>
    /// <returns>What to multiply by.</returns>
    internal static float ToI8(ReadOnlySpan<float> row, Span<sbyte> to)
    {
        uint largest = LargestMagnitude(MemoryMarshal.Cast<float, uint>(row));
        float scale = largest < Infinity ? BitConverter.UInt32BitsToSingle(largest) / 127 : float.NaN;
        if (!(scale > 0))
        {
            to.Clear();
            return scale;
        }

        // What is smaller than the scale can tell apart may round past 127.
        var (divisor, limit, rounder) = (new Vector<float>(scale), new Vector<float>(127), new Vector<float>(Rounder));
        int step = Vector<float>.Count, i = 0;
        for (; i <= row.Length - 4 * step; i += 4 * step)
        {
            Vector<short> low = Vector.Narrow(Round(row[i..]), Round(row[(i + step)..]));
            Vector<short> high = Vector.Narrow(Round(row[(i + 2 * step)..]), Round(row[(i + 3 * step)..]));
            Vector.Narrow(low, high).CopyTo(to[i..]);
        }

        for (; i < row.Length; i++)
        {
            float value = Math.Min(Math.Max(row[i] / scale, -127), 127);
            to[i] = (sbyte)(BitConverter.SingleToInt32Bits(value + Rounder) - BitConverter.SingleToInt32Bits(Rounder));
        }

        return scale;

        Vector<int> Round(ReadOnlySpan<float> values)
        {
            Vector<float> value = Vector.Min(Vector.Max(new Vector<float>(values) / divisor, -limit), limit);
            return Vector.AsVectorInt32(value + rounder) - Vector.AsVectorInt32(rounder);
        }
    }

    private static void ToHalves<T>(ReadOnlySpan<float> from, Span<ushort> to) where T : IHalf
    {
        int step = Vector<uint>.Count, i = 0;
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(from);
        for (; i <= bits.Length - 2 * step; i += 2 * step)
        {
            Vector.Narrow(T.Narrow(new Vector<uint>(bits[i..])), T.Narrow(new Vector<uint>(bits[(i + step)..]))).CopyTo(to[i..]);
        }

        Span<uint> rest = stackalloc uint[2 * step];
        Span<ushort> narrowed = stackalloc ushort[2 * step];
        bits[i..].CopyTo(rest);
        Vector.Narrow(T.Narrow(new Vector<uint>(rest)), T.Narrow(new Vector<uint>(rest[step..]))).CopyTo(narrowed);
        narrowed[..(from.Length - i)].CopyTo(to[i..]);
    }

    private static Vector<uint> IsNaN(Vector<uint> magnitude) => Vector.GreaterThan(magnitude, new Vector<uint>(Infinity));

    /// <summary>Bits of magnitudes are in the order of the magnitudes, NaN above infinity.</summary>
    private static uint LargestMagnitude(ReadOnlySpan<uint> bits)
    {
        var mask = new Vector<uint>(~Sign);
        Vector<uint> largest = Vector<uint>.Zero;
        int step = Vector<uint>.Count, i = 0;
        for (; i <= bits.Length - step; i += step)
        {
            largest = Vector.Max(largest, new Vector<uint>(bits[i..]) & mask);
        }

        uint result = 0;
        for (int lane = 0; lane < step; lane++)
        {
            result = Math.Max(result, largest[lane]);
        }

        for (; i < bits.Length; i++)
        {
            result = Math.Max(result, bits[i] & ~Sign);
        }

        return result;
    }

    /// <summary>A type of 16 bits.</summary>
    private interface IHalf
    {
        /// <summary>From the bits of singles to those of halves.</summary>
        static abstract Vector<uint> Narrow(Vector<uint> bits);
    }

    private readonly struct BF16 : IHalf
    {
        public static Vector<uint> Narrow(Vector<uint> bits)
        {
            Vector<uint> odd = Vector.ShiftRightLogical(bits, 16) & Vector<uint>.One;
            Vector<uint> rounded = Vector.ShiftRightLogical(bits + new Vector<uint>(0x7fff) + odd, 16);
            Vector<uint> quiet = Vector.ShiftRightLogical(bits, 16) | new Vector<uint>(0x40);
            return Vector.ConditionalSelect(IsNaN(bits & new Vector<uint>(~Sign)), quiet, rounded);
        }
    }

    private readonly struct F16 : IHalf
    {
        public static Vector<uint> Narrow(Vector<uint> bits)
        {
            Vector<uint> sign = Vector.ShiftRightLogical(bits & new Vector<uint>(Sign), 16), x = bits & new Vector<uint>(~Sign);

            // The exponent loses 112 and the fraction 13 bits; a carry out of the fraction belongs to the exponent.
            Vector<uint> odd = Vector.ShiftRightLogical(x, 13) & Vector<uint>.One;
            Vector<uint> normal = Vector.ShiftRightLogical(x - new Vector<uint>(112u << 23) + new Vector<uint>(0xfff) + odd, 13);

            // Below 2^-14 the last place is 2^-24, that of a single between a half and one.
            Vector<float> half = new(0.5f);
            Vector<uint> subnormal = Vector.AsVectorUInt32(Vector.AsVectorSingle(x) + half) - Vector.AsVectorUInt32(half);

            Vector<uint> result = Vector.ConditionalSelect(Vector.LessThan(x, new Vector<uint>(113u << 23)), subnormal, normal);
            result = Vector.ConditionalSelect(Vector.LessThan(x, new Vector<uint>(0x477f_f000)), result, new Vector<uint>(0x7c00));
            return sign | Vector.ConditionalSelect(IsNaN(x), new Vector<uint>(0x7e00), result);
        }
    }
}
