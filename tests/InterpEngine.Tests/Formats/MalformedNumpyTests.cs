using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Formats;

public class MalformedNumpyTests
{
    public static TheoryData<string> Arrays => MalformedFiles.Find("npy", "*.npy");

    public static TheoryData<string> Archives => MalformedFiles.Find("npz", "*.npz");

    [Fact]
    public void Every_file_has_a_verdict_and_every_verdict_a_file()
    {
        Assert.Equal(MalformedFiles.Verdicts("npy").Keys.Order(StringComparer.Ordinal), Arrays.Select(row => row.Data).Order(StringComparer.Ordinal));
        Assert.Equal(MalformedFiles.Verdicts("npz").Keys.Order(StringComparer.Ordinal), Archives.Select(row => row.Data).Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Arrays))]
    public void An_array_is_read_exactly_or_refused(string file)
    {
        (bool accept, JsonElement verdict) = MalformedFiles.Verdict("npy", file);
        string path = MalformedFiles.PathOf("npy", file);
        if (accept)
        {
            Compare(verdict.GetProperty("contents"), NpyArray.Open(path));
        }
        else
        {
            Assert.Equal(path, Assert.Throws<InvalidFileException>(() => NpyArray.Open(path)).Path);
        }
    }

    [Theory]
    [MemberData(nameof(Archives))]
    public void An_archive_is_read_exactly_or_refused(string file)
    {
        (bool accept, JsonElement verdict) = MalformedFiles.Verdict("npz", file);
        string path = MalformedFiles.PathOf("npz", file);
        if (!accept)
        {
            Assert.StartsWith(path, Assert.Throws<InvalidFileException>(() => NpzFile.Open(path)).Path, StringComparison.Ordinal);
            return;
        }

        IReadOnlyDictionary<string, NpyArray> arrays = NpzFile.Open(path).Arrays;
        JsonProperty[] contents = [.. verdict.GetProperty("contents").EnumerateObject()];
        Assert.Equal(contents.Select(property => property.Name).Order(StringComparer.Ordinal), arrays.Keys.Order(StringComparer.Ordinal));
        foreach (JsonProperty property in contents)
        {
            Compare(property.Value, arrays[property.Name]);
        }
    }

    private static void Compare(JsonElement expected, NpyArray array)
    {
        string type = array.IsBoolean ? "b1" : array.Type switch
        {
            ElementType.F16 => "f2",
            ElementType.F32 => "f4",
            ElementType.F64 => "f8",
            ElementType.U8 => "u1",
            ElementType.I64 => "i8",
            _ => array.Type.ToString(),
        };
        Assert.Equal(expected[0].GetString()![1..], type);
        Assert.Equal(expected[1].EnumerateArray().Select(axis => axis.GetInt64()), array.Shape);
        Assert.Equal(expected[2].GetString(), Convert.ToHexStringLower(array.Data.Span));
    }
}
