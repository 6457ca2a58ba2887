using System.Globalization;
using CsCheck;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Formats;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void MutatedFilesAreReadOrRefused()
    {
        string path = _folder["valid.safetensors"];
        SafetensorsSamples.Write(
            path,
            new Dictionary<string, string> { ["format"] = "pt" },
            SafetensorsSamples.Singles("wte.weight", 1, 2, 3),
            SafetensorsSamples.Singles("empty"),
            SafetensorsSamples.Singles("ln_f.bias", 4));
        byte[] valid = File.ReadAllBytes(path);
        string target = _folder["mutant.safetensors"];
        int accepted = 0, refused = 0;

        Gen.Select(Gen.Int[0, valid.Length], Gen.Select(Gen.Int[0, valid.Length - 1], Gen.Byte).Array[0, 3]).Sample(
            (length, changes) =>
            {
                byte[] mutant = [.. valid];
                foreach ((int at, byte value) in changes)
                {
                    mutant[at] = value;
                }

                // Most mutants keep their length: a cut file fails early.
                File.WriteAllBytes(target, length % 8 == 0 ? mutant[..length] : mutant);
                if (ReadsWhole(target))
                {
                    accepted++;
                }
                else
                {
                    refused++;
                }
            },
            seed: "0N0XIzNsQ0O2",
            iter: 3000,
            threads: 1);

        Assert.True(accepted > 100 && refused > 1000, $"{accepted} accepted, {refused} refused: the mutations do not reach deep");
    }

    [Fact]
    public void EveryTruncationIsRefused()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles("a", 1, 2));
        byte[] valid = File.ReadAllBytes(path);
        for (int length = 0; length < valid.Length; length++)
        {
            File.WriteAllBytes(path, valid[..length]);
            Assert.False(ReadsWhole(path));
        }
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}""", false)]
    [InlineData("""{"a":{"dtype":"F64","shape":[9007199254740993],"data_offsets":[0,4]}}""", false)]
    [InlineData("""{"a":{"dtype":"F32","shape":[0,1099511627776],"data_offsets":[0,0]}}""", true)]
    public void AllocationFollowsTheBytesPresent(string header, bool accepted)
    {
        string path = _folder["a.safetensors"];
        File.WriteAllBytes(path, SafetensorsSamples.Raw(header));
        _ = ReadsWhole(path); // Once before, so that only opening is measured.
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Equal(accepted, ReadsWhole(path));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 100_000);
    }

    [Fact]
    public void ALyingHeaderLengthAllocatesNothing()
    {
        string path = _folder["a.safetensors"];
        File.WriteAllBytes(path, [0xFF, 0xE0, 0xF5, 0x05, 0, 0, 0, 0, (byte)'{', (byte)'}']); // 99,999,999
        _ = ReadsWhole(path);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.False(ReadsWhole(path));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 100_000);
    }

    [Fact]
    public void ReleasedPagesStayReadable()
    {
        string path = _folder["large.safetensors"];
        byte[] data = [.. Enumerable.Range(0, 1 << 20).Select(i => (byte)(i * 31 >> 3))];
        SafetensorsSamples.Write(path, null, (new("a", SafetensorsType.U8, data.Length), data));
        using var file = SafetensorsFile.Open(path);
        SafetensorsEntry entry = file.Tensors["a"];
        file.Prefetch(entry.Offset, entry.Length);
        Assert.True(entry.Bytes.SequenceEqual(data));
        file.Release(entry.Offset, entry.Length);
        Assert.True(entry.Bytes.SequenceEqual(data));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Release(entry.Offset, entry.Length + 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Release(-1, 1));
    }

    [Fact]
    public void ReleaseGivesMemoryBack()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "only Linux gives pages of a mapping back");
        const int size = 64 << 20;
        string path = _folder["large.safetensors"];
        byte[] data = new byte[size];
        Array.Fill(data, (byte)1);
        SafetensorsSamples.Write(path, null, (new("a", SafetensorsType.U8, size), data));
        using var file = SafetensorsFile.Open(path);
        SafetensorsEntry entry = file.Tensors["a"];

        Assert.Equal(-1, entry.Bytes.IndexOfAnyExcept((byte)1)); // Touches every page.
        long touched = ResidentFileBytes();
        file.Release(entry.Offset, entry.Length);
        Assert.True(touched - ResidentFileBytes() > size / 2);
    }

    [Fact]
    public void ConversionsAreExact()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(
            path,
            null,
            (new("f64", SafetensorsType.F64, 1), BitConverter.GetBytes(0.1)),
            (new("bf16", SafetensorsType.BF16, 2), [0x80, 0x3F, 0x80, 0xFF]),
            (new("f16", SafetensorsType.F16, 2), [0x00, 0x3C, 0x01, 0x00]),
            (new("i8", SafetensorsType.I8, 2), [0x80, 0x7F]),
            (new("u64", SafetensorsType.U64, 1), BitConverter.GetBytes(ulong.MaxValue)),
            (new("bool", SafetensorsType.BOOL, 3), [0, 1, 2]));
        using var file = SafetensorsFile.Open(path);

        Assert.Equal([0.1f], file.Tensors["f64"].ToSingles());
        Assert.Equal([1f, float.NegativeInfinity], file.Tensors["bf16"].ToSingles());
        Assert.Equal([1f, 5.9604645e-8f], file.Tensors["f16"].ToSingles());
        Assert.Equal([-128, 127], file.Tensors["i8"].ToIntegers());
        Assert.Equal([0, 1, 1], file.Tensors["bool"].ToIntegers());
        Assert.Equal(ElementType.BF16, file.Tensors["bf16"].ElementType);
        InvalidFileException tooLarge = Assert.Throws<InvalidFileException>(file.Tensors["u64"].ToIntegers);
        Assert.Contains("'u64'", tooLarge.Defect, StringComparison.Ordinal);
        Assert.Throws<InvalidFileException>(file.Tensors["bool"].ToSingles);
        Assert.Throws<InvalidFileException>(file.Tensors["f64"].ToIntegers);
        Assert.Throws<InvalidFileException>(() => file.Tensors["u64"].ElementType);
    }

    [Fact]
    public void AClosedFileIsNotTouched()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles("a", 1));
        var file = SafetensorsFile.Open(path);
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.Tensors["a"].ToSingles());
        Assert.Throws<ObjectDisposedException>(() => file.Release(0, 0));
    }

    [Theory]
    [InlineData("missing.safetensors", "no such file")]
    [InlineData("missing/a.safetensors", "no such file")]
    [InlineData("a\0b", "cannot be read")]
    [InlineData("", "is a folder")]
    public void AbsentFilesAreNamed(string name, string defect)
    {
        string path = _folder[name];
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => SafetensorsFile.Open(path));
        Assert.Contains(defect, error.Defect, StringComparison.Ordinal);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AGitLfsPointerIsNamed()
    {
        string path = _folder["a.safetensors"];
        File.WriteAllText(path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => SafetensorsFile.Open(path));
        Assert.Contains("git lfs pull", error.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void MessagesStayShortAndPrintable()
    {
        string path = _folder["a.safetensors"];
        string name = "\\u001b[2J" + new string('n', 1_000_000);
        string header = $$$"""{"{{{name}}}":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""";
        File.WriteAllBytes(path, SafetensorsSamples.Raw(header, 0, 0, 0, 0));
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => SafetensorsFile.Open(path));
        Assert.InRange(error.Defect.Length, 1, 300);
        Assert.DoesNotContain('\u001b', error.Defect);
    }

    // Opens a file and touches every byte of it; false where it is refused.
    private static bool ReadsWhole(string path)
    {
        try
        {
            using var file = SafetensorsFile.Open(path);
            foreach (SafetensorsEntry entry in file.Tensors.Values)
            {
                Assert.Equal(entry.Length, entry.Bytes.ToArray().Length);
            }

            return true;
        }
        catch (InvalidFileException)
        {
            return false;
        }
    }

    private static long ResidentFileBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("RssFile:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024;
    }
}
