using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests.Formats;

public sealed class CheckpointTests : IDisposable
{
    private const string Index = "model.safetensors.index.json";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AShardedFolderRoundTrips()
    {
        WriteShards(_folder.Path);
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal(_folder[Index], checkpoint.Path);
        Assert.Equal(["a", "b", "c"], checkpoint.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal([1, 2], checkpoint.Tensors["a"].ToSingles());
        Assert.Equal([3], checkpoint.Tensors["b"].ToSingles());
        Assert.Equal([4], checkpoint.Tensors["c"].ToSingles());
        Assert.Same(checkpoint.Tensors["a"].File, checkpoint.Tensors["b"].File);
    }

    [Fact]
    public void ASingleFileComesBeforeAnIndex()
    {
        WriteShards(_folder.Path);
        SafetensorsSamples.Write(_folder["model.safetensors"], null, SafetensorsSamples.Singles("whole", 5));
        using var byFolder = Checkpoint.Open(_folder.Path);
        using var byFile = Checkpoint.Open(_folder["model.safetensors"]);
        Assert.Equal(["whole"], byFolder.Tensors.Keys);
        Assert.Equal(["whole"], byFile.Tensors.Keys);
    }

    [Fact]
    public void DisposalClosesEveryShard()
    {
        WriteShards(_folder.Path);
        var checkpoint = Checkpoint.Open(_folder.Path);
        checkpoint.Dispose();
        Assert.All(checkpoint.Tensors.Values, entry => Assert.Throws<ObjectDisposedException>(() => entry.ToSingles()));
    }

    [Theory]
    [InlineData("pytorch_model.bin")]
    [InlineData("consolidated.00.pth")]
    [InlineData("model.pt")]
    [InlineData("model.ckpt")]
    public void PicklesAreRefusedWithAdvice(string name)
    {
        File.WriteAllBytes(_folder[name], [0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20]);
        foreach (string path in (string[])[_folder.Path, _folder[name]])
        {
            InvalidFileException error = Assert.Throws<InvalidFileException>(() => Checkpoint.Open(path));
            Assert.Contains("pickle", error.Defect, StringComparison.Ordinal);
            Assert.Contains("safetensors.torch", error.Hint, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void FoldersWithoutWeightsSayWhatIsThere()
    {
        InvalidFileException empty = Assert.Throws<InvalidFileException>(() => Checkpoint.Open(_folder.Path));
        Assert.Contains("no weights", empty.Defect, StringComparison.Ordinal);
        SafetensorsSamples.Write(_folder["sae_weights.safetensors"], null, SafetensorsSamples.Singles("W_enc", 1));
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => Checkpoint.Open(_folder.Path));
        Assert.Contains("sae_weights.safetensors", error.Hint, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model-00001-of-00002.safetensors", true)]
    [InlineData("a b.safetensors", true)]
    [InlineData("..safetensors", true)]
    [InlineData(".safetensors", false)]
    [InlineData("con.safetensors", false)]
    [InlineData("LPT1 .x.safetensors", false)]
    [InlineData("..", false)]
    [InlineData("a.safetensors.", false)]
    [InlineData(" a.safetensors", false)]
    [InlineData("a\tb.safetensors", false)]
    [InlineData("a|b.safetensors", false)]
    [InlineData(null, false)]
    public void ShardNamesAreJudgedAlikeEverywhere(string? name, bool plain) => Assert.Equal(plain, ShardName.IsPlain(name));

    [Fact]
    public void AShardMayNotBeALinkOutOfTheFolder()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need privileges there");
        string model = _folder["model"];
        Directory.CreateDirectory(model);
        Directory.CreateDirectory(_folder["elsewhere"]);
        WriteShards(model);
        string shard = Path.Combine(model, "shard-1.safetensors");
        File.Move(shard, _folder["elsewhere/s"]);
        File.CreateSymbolicLink(shard, "../elsewhere/s");
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => Checkpoint.Open(model));
        Assert.Contains("link out of the folder", error.Defect, StringComparison.Ordinal);
        File.Delete(shard);
        File.CreateSymbolicLink(shard, "shard-1.safetensors");
        Assert.Throws<InvalidFileException>(() => Checkpoint.Open(model)); // A link to itself.
    }

    [Fact]
    public void TheHubCacheLayoutIsReadThroughItsLinks()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need privileges there");
        string snapshot = _folder["models--x/snapshots/0123"];
        Directory.CreateDirectory(snapshot);
        Directory.CreateDirectory(_folder["models--x/blobs"]);
        WriteShards(snapshot);
        foreach (string path in Directory.GetFiles(snapshot))
        {
            string blob = $"../../blobs/{Path.GetFileName(path)[..7]}";
            File.Move(path, Path.Combine(snapshot, blob));
            File.CreateSymbolicLink(path, blob);
        }

        Directory.CreateSymbolicLink(_folder["shortcut"], snapshot);
        foreach (string folder in (string[])[snapshot, _folder["shortcut"]])
        {
            using var checkpoint = Checkpoint.Open(folder);
            Assert.Equal(3, checkpoint.Tensors.Count);
        }
    }

    private static void WriteShards(string folder)
    {
        SafetensorsSamples.Write(
            Path.Combine(folder, "shard-1.safetensors"),
            null,
            SafetensorsSamples.Singles("a", 1, 2),
            SafetensorsSamples.Singles("b", 3));
        SafetensorsSamples.Write(Path.Combine(folder, "shard-2.safetensors"), null, SafetensorsSamples.Singles("c", 4));
        AtomicFile.WriteAllBytes(
            Path.Combine(folder, Index),
            """{"weight_map":{"a":"shard-1.safetensors","b":"shard-1.safetensors","c":"shard-2.safetensors"}}"""u8);
    }
}
