using System.Text.Json;
using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests.Formats;

public class MalformedSafetensorsTests
{
    private const string Family = "safetensors";

    public static TheoryData<string> Files => MalformedFiles.Find(Family, "*.safetensors");

    [Fact]
    public void EveryFileHasAVerdictAndEveryVerdictAFile() =>
        Assert.Equal(
            MalformedFiles.Verdicts(Family).Keys.Order(StringComparer.Ordinal),
            Files.Select(row => row.Data).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Files))]
    public void VerdictAndContentsAreExact(string file)
    {
        (bool accept, JsonElement verdict) = MalformedFiles.Verdict(Family, file);
        string path = MalformedFiles.PathOf(Family, file);
        if (!accept)
        {
            InvalidFileException error = Assert.Throws<InvalidFileException>(() => SafetensorsFile.Open(path));
            Assert.Equal(path, error.Path);
            return;
        }

        using var opened = SafetensorsFile.Open(path);
        Dictionary<string, JsonElement> contents = verdict.GetProperty("contents").EnumerateObject()
            .ToDictionary(property => property.Name, property => property.Value, StringComparer.Ordinal);
        Assert.Equal(contents.Keys.Order(StringComparer.Ordinal), opened.Tensors.Keys.Order(StringComparer.Ordinal));
        foreach ((string name, JsonElement expected) in contents)
        {
            SafetensorsEntry entry = opened.Tensors[name];
            Assert.Equal(name, entry.Name);
            Assert.Equal(expected[0].GetString(), entry.Type.ToString());
            Assert.Equal(expected[1].EnumerateArray().Select(axis => axis.GetInt64()), entry.Shape);
            Assert.Equal(expected[2].GetString(), Convert.ToHexStringLower(entry.Bytes));
        }
    }

    [Theory]
    [InlineData("pickle.safetensors", "pickle")]
    [InlineData("zip-checkpoint.safetensors", "zip archive")]
    public void PicklesAreNamedAndConvertible(string file, string kind)
    {
        string path = MalformedFiles.PathOf(Family, file);
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => SafetensorsFile.Open(path));
        Assert.Contains(kind, error.Defect, StringComparison.Ordinal);
        Assert.Contains("safetensors.torch", error.Hint, StringComparison.Ordinal);
    }
}
