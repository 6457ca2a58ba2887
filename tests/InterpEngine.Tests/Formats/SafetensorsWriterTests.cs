using System.Buffers.Binary;
using System.Text;
using CsCheck;
using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests.Formats;

public sealed class SafetensorsWriterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TensorsRoundTripBitwise() =>
        Gen.Select(SafetensorsSamples.Tensors, SafetensorsSamples.Metadata).Sample(
            (tensors, metadata) =>
            {
                string path = _folder["a.safetensors"];
                SafetensorsSamples.Write(path, metadata, tensors);
                using var file = SafetensorsFile.Open(path);
                Assert.Equal(Sorted(metadata), Sorted(file.Metadata));
                Assert.Equal(tensors.Length, file.Tensors.Count);
                foreach ((SafetensorsDeclaration tensor, byte[] data) in tensors)
                {
                    SafetensorsEntry entry = file.Tensors[tensor.Name];
                    Assert.Equal(tensor.Type, entry.Type);
                    Assert.Equal(tensor.Shape, entry.Shape);
                    Assert.Equal(data, entry.Bytes.ToArray());
                }
            },
            iter: 300,
            threads: 1);

    [Fact]
    public void HeaderBeginsWithABraceAndDataAreAligned()
    {
        for (int length = 0; length < 16; length++)
        {
            string path = _folder["a.safetensors"];
            SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles(new string('n', length), 1));
            byte[] bytes = File.ReadAllBytes(path);
            Assert.Equal((byte)'{', bytes[8]);
            Assert.Equal(0, BinaryPrimitives.ReadInt64LittleEndian(bytes) % 8);
        }
    }

    [Fact]
    public void TheBytesAreThoseOfTheFormat()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(path, new Dictionary<string, string> { ["k"] = "é" }, SafetensorsSamples.Singles("a", 1));
        const string header = """{"__metadata__":{"k":"é"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""";
        string padded = header + new string(' ', -Encoding.UTF8.GetByteCount(header) & 7);
        Assert.Equal(SafetensorsSamples.Raw(padded, 0, 0, 0x80, 0x3F), File.ReadAllBytes(path));
    }

    [Fact]
    public void AnAbandonedWriterLeavesWhatWasThere()
    {
        string path = _folder["a.safetensors"];
        File.WriteAllText(path, "before");
        using (var writer = new SafetensorsWriter(path, [new("a", SafetensorsType.F32, 2)]))
        {
            writer.Write("a", [1, 2, 3, 4]);
            Assert.Throws<InvalidOperationException>(writer.Complete);
        }

        Assert.Equal(["a.safetensors"], _folder.Names);
        Assert.Equal("before", File.ReadAllText(path));
    }

    [Fact]
    public void ACompletedWriterLeavesOneFileAndIsClosed()
    {
        string path = _folder["a.safetensors"];
        using var writer = new SafetensorsWriter(path, [new("a", SafetensorsType.U8, 1)]);
        writer.Write("a", [7]);
        Assert.False(File.Exists(path));
        writer.Complete();
        writer.Dispose();
        Assert.Equal(["a.safetensors"], _folder.Names);
        Assert.Throws<ObjectDisposedException>(writer.Complete);
    }

    [Fact]
    public void WritingOverAMappedFileKeepsTheMapping()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles("a", 1, 2, 3));
        using var old = SafetensorsFile.Open(path);
        SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles("a", 4));
        old.Release(0, old.Tensors["a"].Offset + old.Tensors["a"].Length);
        Assert.Equal([1, 2, 3], old.Tensors["a"].ToSingles());
        using var replaced = SafetensorsFile.Open(path);
        Assert.Equal([4], replaced.Tensors["a"].ToSingles());
    }

    [Fact]
    public void ATensorCanBeSavedOverItsOwnSource()
    {
        string path = _folder["a.safetensors"];
        SafetensorsSamples.Write(path, null, SafetensorsSamples.Singles("a", 1, 2, 3));
        using (var source = SafetensorsFile.Open(path))
        {
            using var writer = new SafetensorsWriter(path, [new("b", SafetensorsType.F32, 3)]);
            writer.Write("b", source.Tensors["a"].Bytes);
            writer.Complete();
        }

        using var copy = SafetensorsFile.Open(path);
        Assert.Equal([1, 2, 3], copy.Tensors["b"].ToSingles());
    }

    [Fact]
    public void OrderAndSizesAreEnforced()
    {
        using var writer = new SafetensorsWriter(
            _folder["a"], [new("a", SafetensorsType.U8, 2), new("z", SafetensorsType.U8, 0), new("b", SafetensorsType.U8, 1)]);
        Assert.Throws<ArgumentException>(() => writer.Write("b", [1]));
        Assert.Throws<ArgumentException>(() => writer.Write("a", [1, 2, 3]));
        writer.Write("a", [1]);
        Assert.Throws<ArgumentException>(() => writer.Write("b", [1]));
        writer.Write("a", [2]);
        Assert.Throws<ArgumentException>(() => writer.Write("a", [3]));
        writer.Write("b", [3]); // 'z' has no bytes and needs no call.
        Assert.Throws<ArgumentException>(() => writer.Write("c", [4]));
        writer.Complete();
        using var file = SafetensorsFile.Open(_folder["a"]);
        Assert.Equal([1, 2], file.Tensors["a"].ToIntegers());
        Assert.Equal([3], file.Tensors["b"].ToIntegers());
    }

    [Theory]
    [InlineData("__metadata__")]
    [InlineData("twice")]
    [InlineData("half a pair")]
    public void UnfitNamesAreRefusedBeforeAFileExists(string name)
    {
        // An attribute cannot carry half a surrogate pair.
        name = name.Replace("half a pair", "a\ud800", StringComparison.Ordinal);
        Assert.ThrowsAny<ArgumentException>(() => new SafetensorsWriter(
            _folder["a.safetensors"], [new("twice", SafetensorsType.U8), new(name, SafetensorsType.U8)]));
        Assert.Empty(_folder.Names);
    }

    [Fact]
    public void UnfitShapesAreRefused()
    {
        Assert.ThrowsAny<ArgumentException>(() => new SafetensorsDeclaration("a", SafetensorsType.U8, -1));
        Assert.ThrowsAny<ArgumentException>(() => new SafetensorsDeclaration("a", SafetensorsType.F4, 3));
        Assert.ThrowsAny<ArgumentException>(() => new SafetensorsDeclaration("a", SafetensorsType.F32, 1L << 32, 1L << 32));
    }

    [Fact]
    public void AHeaderOverTheLimitIsRefused()
    {
        var metadata = new Dictionary<string, string> { ["k"] = new('x', 100_000_000) };
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(_folder["a.safetensors"], [], metadata));
        Assert.Empty(_folder.Names);
    }

    [Fact]
    public void AnUnwritableFolderIsNamed()
    {
        string path = _folder["missing/a.safetensors"];
        FileWriteException error = Assert.Throws<FileWriteException>(() => new SafetensorsWriter(path, []));
        Assert.Equal(path, error.Path);
        Directory.CreateDirectory(_folder["folder"]);
        Assert.Throws<FileWriteException>(() => AtomicFile.WriteAllBytes(_folder["folder"], "x"u8));
        Assert.Equal(["folder"], _folder.Names);
    }

    private static IEnumerable<KeyValuePair<string, string>> Sorted(IReadOnlyDictionary<string, string> texts) =>
        texts.OrderBy(pair => pair.Key, StringComparer.Ordinal);
}
