using System.Text.Json;
using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests.Formats;

public class MalformedIndexTests
{
    private const string Family = "index-json";

    public static TheoryData<string> Files => MalformedFiles.Find(Family, "*.index.json");

    [Fact]
    public void EveryFileHasAVerdictAndEveryVerdictAFile() =>
        Assert.Equal(
            MalformedFiles.Verdicts(Family).Keys.Order(StringComparer.Ordinal),
            Files.Select(row => row.Data).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Files))]
    public void VerdictAndContentsAreExact(string file)
    {
        string path = MalformedFiles.PathOf(Family, file);
        if (!MalformedFiles.Verdict(Family, file).Accept)
        {
            Assert.Throws<InvalidFileException>(() => Checkpoint.Open(path));
            return;
        }

        using var checkpoint = Checkpoint.Open(path);
        using var index = JsonDocument.Parse(File.ReadAllBytes(path));
        Dictionary<string, string> map = index.RootElement.GetProperty("weight_map").Deserialize<Dictionary<string, string>>()!;
        Assert.Equal(map.Keys.Order(StringComparer.Ordinal), checkpoint.Tensors.Keys.Order(StringComparer.Ordinal));
        foreach ((string name, string shard) in map)
        {
            using var alone = SafetensorsFile.Open(MalformedFiles.PathOf(Family, shard));
            Assert.Equal(alone.Tensors[name].Bytes, checkpoint.Tensors[name].Bytes);
        }
    }
}
