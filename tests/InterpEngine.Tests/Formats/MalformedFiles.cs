using System.Text.Json;
using Xunit;

namespace InterpEngine.Tests.Formats;

/// <summary>A folder of malformed and odd files with the verdicts of its expected.json.</summary>
internal static class MalformedFiles
{
    public static string PathOf(string family, string file) => Goldens.Folder("malformed", family, file);

    /// <summary>The files found, by name.</summary>
    public static TheoryData<string> Find(string family, string pattern) =>
        [.. Directory.GetFiles(Goldens.Folder("malformed", family), pattern)
            .Select(path => Path.GetFileName(path))
            .Order(StringComparer.Ordinal)];

    public static Dictionary<string, JsonElement> Verdicts(string family) =>
        JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(File.ReadAllBytes(PathOf(family, "expected.json")))!;

    /// <summary>The verdict on one file; fails where there is none, or one that is not understood.</summary>
    public static (bool Accept, JsonElement Verdict) Verdict(string family, string file)
    {
        Assert.True(Verdicts(family).TryGetValue(file, out JsonElement verdict), $"{file} has no verdict");
        string expect = verdict.GetProperty("expect").GetString()!;
        Assert.Contains(expect, (string[])["accept", "reject"]);
        return (expect == "accept", verdict);
    }
}
