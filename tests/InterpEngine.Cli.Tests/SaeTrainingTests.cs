using Xunit;

namespace InterpEngine.Cli.Tests;

/// <summary>Dictionaries made and looked at with the tool.</summary>
public sealed class SaeTrainingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("interp-").FullName;

    [Fact]
    public async Task A_dictionary_is_trained_and_browsed()
    {
        string text = Text(), sae = PathOf("sae");
        string[] train =
        [
            "sae", "train", "tales", "--text", text, "--config", Config("""{"point": "blocks.2.hook_resid_post", "batch": 256, "buffer": 2048}"""),
            "--features", "128", "--k", "4", "--steps", "30", "--out", sae,
        ];
        await CommandLine.Success(train);
        await CommandLine.Success("sae", "info", sae);
        string page = PathOf("features.html");
        await CommandLine.Success("sae", "features", sae, "--model", "tales", "--text", text, "--tokens", "3000", "--out", page);
        Assert.Contains("active at", File.ReadAllText(page), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_resumed_run_ends_with_the_same_weights()
    {
        string text = Text();
        string[] settings = ["--config", Config("""{"point": "blocks.1.hook_resid_post", "batch": 128, "buffer": 1024, "features": 64, "k": 4}""")];
        string[] Train(string folder, params string[] more) =>
            ["sae", "train", "tales", "--text", text, "--out", folder, "--checkpoint-every", "10", .. settings, .. more];
        await CommandLine.Success(Train(PathOf("whole"), "--steps", "20"));
        await CommandLine.Success(Train(PathOf("parts"), "--steps", "20"));
        File.Delete(Path.Combine(PathOf("parts"), "sae_weights.safetensors"));
        await CommandLine.Success(Train(PathOf("parts"), "--steps", "20", "--resume"));
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(PathOf("whole"), "sae_weights.safetensors")),
            File.ReadAllBytes(Path.Combine(PathOf("parts"), "sae_weights.safetensors")));
    }

    [Fact]
    public async Task Mistakes_are_named()
    {
        Assert.Contains("speed", await CommandLine.Failure(
            "sae", "train", "tales", "--text", Text(), "--out", PathOf("x"), "--config", Config("""{"point": "blocks.1.hook_resid_post", "speed": 3}""")),
            StringComparison.Ordinal);
        Assert.Contains("--point", await CommandLine.Failure("sae", "train", "tales", "--text", Text(), "--out", PathOf("x")), StringComparison.Ordinal);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string PathOf(string name) => Path.Combine(_folder, name);

    private string Config(string json)
    {
        string path = PathOf("config.json");
        File.WriteAllText(path, json);
        return path;
    }

    private string Text()
    {
        var random = new Random(1);
        string[] names = ["Mary", "John", "Henry", "Ruth", "Hugo"], places = ["park", "beach", "garden"], things = ["ball", "coin", "key"];
        string path = PathOf("text.txt");
        File.WriteAllLines(path, Enumerable.Range(0, 400).Select(_ =>
            $"When {names[random.Next(5)]} and {names[random.Next(5)]} went to the {places[random.Next(3)]}, "
            + $"{names[random.Next(5)]} gave the {things[random.Next(3)]} to {names[random.Next(5)]}."));
        return path;
    }
}
