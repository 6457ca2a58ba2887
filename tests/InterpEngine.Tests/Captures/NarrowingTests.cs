using System.Runtime.InteropServices;
using InterpEngine.Captures;
using InterpEngine.Formats;
using InterpEngine.Tests.Formats;
using Xunit;

namespace InterpEngine.Tests.Captures;

/// <summary>Stored types against their definition, element by element, at every length around the vectors' widths.</summary>
public sealed class NarrowingTests
{
    /// <summary>Every pattern of a single's sign, exponent and first fraction bits, with all that matters behind them.</summary>
    private static float[] Patterns()
    {
        uint[] tails = [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x7fff, 0x8000, 0x8001, 0xffff];
        return [.. from high in Enumerable.Range(0, 1 << 16) from tail in tails select BitConverter.UInt32BitsToSingle((uint)high << 16 | tail)];
    }

    [Fact]
    public void F16_is_the_nearest_half()
    {
        float[] values = Patterns();
        var stored = new ushort[values.Length];
        Narrowing.ToF16(values, stored);
        for (int i = 0; i < values.Length; i++)
        {
            Half expected = (Half)values[i], actual = BitConverter.UInt16BitsToHalf(stored[i]);
            bool same = Half.IsNaN(expected) ? Half.IsNaN(actual) : BitConverter.HalfToUInt16Bits(expected) == stored[i];
            Assert.True(same, $"{values[i]:R} became {actual}, not {expected}");
        }
    }

    [Fact]
    public void BF16_is_the_nearest_upper_half_of_a_single()
    {
        float[] values = Patterns();
        var stored = new ushort[values.Length];
        Narrowing.ToBF16(values, stored);
        for (int i = 0; i < values.Length; i++)
        {
            float value = values[i], actual = BitConverter.UInt32BitsToSingle((uint)stored[i] << 16);
            if (float.IsNaN(value))
            {
                Assert.True(float.IsNaN(actual));
                continue;
            }

            // The two neighbours; infinity stands where the next exponent would.
            uint below = BitConverter.SingleToUInt32Bits(value) >> 16, above = below + 1;
            double low = Math.Abs((double)Value(below)), x = Math.Abs((double)value);
            double high = (above & 0x7fff) == 0x7f80 ? Math.Pow(2, 128) : Math.Abs((double)Value(above));
            uint expected = x - low < high - x || (x - low == high - x && below % 2 == 0) || x == low ? below : above;
            Assert.True(expected == stored[i], $"{value:R} became {actual:R}");
        }

        static float Value(uint bits) => BitConverter.UInt32BitsToSingle(bits << 16);
    }

    [Fact]
    public void I8_is_the_nearest_multiple_of_the_scale()
    {
        var random = new Random(5);
        foreach (float magnitude in (float[])[1, 1e-3f, 3e38f, 1e-37f, 1e-44f])
        {
            for (int length = 1; length < 140; length++)
            {
                float[] row = [.. Enumerable.Range(0, length).Select(_ => (random.NextSingle() * 2 - 1) * magnitude)];
                row[random.Next(length)] = random.Next(4) == 0 ? magnitude : -magnitude;
                var stored = new sbyte[length];
                float scale = Narrowing.ToI8(row, stored), largest = row.Max(MathF.Abs);
                Assert.Equal(largest / 127, scale);
                for (int i = 0; i < length; i++)
                {
                    double expected = scale == 0 ? 0 : Math.Clamp(Math.Round((double)(row[i] / scale), MidpointRounding.ToEven), -127, 127);
                    Assert.Equal(expected, stored[i]);
                }
            }
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void A_row_that_I8_cannot_hold_reads_as_NaN(float special)
    {
        for (int at = 0; at < 40; at++)
        {
            var row = new float[40];
            row[at] = special;
            var stored = new sbyte[40];
            Assert.True(float.IsNaN(Narrowing.ToI8(row, stored)));
            Assert.All(stored, value => Assert.Equal(0, value));
        }

        Assert.Equal(0, Narrowing.ToI8(new float[3], new sbyte[3]));
    }

    [Fact]
    public void Every_length_is_converted_whole_and_nothing_behind_it()
    {
        float[] values = [.. Enumerable.Range(0, 100).Select(i => i * 1.37f - 50)];
        for (int length = 0; length < values.Length; length++)
        {
            ushort[] bf16 = [.. Enumerable.Repeat<ushort>(77, 101)], f16 = [.. bf16];
            Narrowing.ToBF16(values.AsSpan(0, length), bf16);
            Narrowing.ToF16(values.AsSpan(0, length), f16);
            for (int i = 0; i <= 100; i++)
            {
                float value = i < length ? values[i] : 0;
                Assert.Equal(i < length ? BitConverter.HalfToUInt16Bits((Half)value) : (ushort)77, f16[i]);
                Assert.True(i < length ? MathF.Abs(BitConverter.UInt32BitsToSingle((uint)bf16[i] << 16) - value) <= 0.25f : bf16[i] == 77);
            }
        }
    }

    [Fact]
    public void F32_is_the_values_own_bits()
    {
        float[] values = Patterns();
        var stored = new byte[values.Length * sizeof(float)];
        Narrowing.Store(SafetensorsType.F32, values, 1, stored, []);
        Assert.Equal(MemoryMarshal.AsBytes(values.AsSpan()).ToArray(), stored);
        Assert.Throws<ArgumentOutOfRangeException>(() => Narrowing.Store(SafetensorsType.U8, values, 1, stored, []));
    }

    [Fact]
    public void Some_rows_of_I8_are_loaded_and_a_file_cut_short_meanwhile_is_refused()
    {
        using var folder = new TemporaryFolder();
        string path = folder["a.safetensors"];
        byte[] stored = [.. Enumerable.Range(0, 12).Select(i => (byte)(i - 6))], scales = new byte[4 * sizeof(float)];
        new float[] { 1, 2, 0.5f, 3 }.CopyTo(MemoryMarshal.Cast<byte, float>(scales.AsSpan()));
        SafetensorsSamples.Write(
            path, null, (new("a.scale", SafetensorsType.F32, [4]), scales), (new("a", SafetensorsType.I8, [4, 3]), stored),
            (new("b", SafetensorsType.I8, [3, 4]), stored));
        using SafetensorsFile file = SafetensorsFile.Open(path);
        SafetensorsEntry entry = file.Tensors["a"], beside = file.Tensors["a.scale"];
        Assert.Equal([-6, -4, -2, 0, 0.5f, 1], Narrowing.Load(entry, beside, 3, 6));
        Assert.Throws<InvalidFileException>(() => Narrowing.Load(file.Tensors["b"], beside, 0, 4));
        using (var other = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            other.SetLength(entry.Offset + 8);
        }

        Assert.Equal([-6, -4, -2], Narrowing.Load(entry, beside, 3, 3));
        Assert.Throws<InvalidFileException>(() => Narrowing.Load(entry, beside, 6, 6));
    }
}
