using System.Diagnostics;
using System.Text.Json;
using InterpEngine.Cli.Sae.Train;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Cli.Tests.Sae;

/// <summary>Dictionaries made with the tool.</summary>
public sealed class SaeTrainingTests : IDisposable
{
    private static readonly string[] s_small = ["--features", "64", "--k", "4", "--set", "batch=128", "buffer=1024", "context=64"];
    private readonly string _folder = Directory.CreateTempSubdirectory("interp-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>The two commands of the README, smaller.</summary>
    [Fact]
    public async Task A_dictionary_is_trained_and_browsed_with_nothing_but_the_tool()
    {
        string sae = PathOf("sae"), page = PathOf("features.html"), plot = PathOf("course.html");
        JsonElement summary = await CommandLine.Json(
            ["sae", "train", "tales", "--out", sae, "--steps", "30", "--plot", plot, "--json", .. s_small]);
        Assert.Equal((64, 30), (summary.GetProperty("features").GetInt32(), summary.GetProperty("steps").GetInt32()));
        Assert.InRange(summary.GetProperty("explained_variance").GetDouble(), 0.1, 1);
        (DictionaryConfig config, _) = DictionaryFile.Read(sae);
        Assert.Equal(("blocks.2.hook_resid_post", "tales", 64), (config.HookName, config.ModelName, config.Features));
        Assert.NotNull(FeatureDensities.Read(sae, 64));
        string[] log = File.ReadAllLines(Path.Combine(sae, TrainingLog.FileName));
        Assert.Equal(Enumerable.Range(1, 30), log.Select(line => JsonDocument.Parse(line).RootElement.GetProperty("step").GetInt32()));
        string course = File.ReadAllText(plot);
        Assert.Contains("\"running\":false", course, StringComparison.Ordinal);
        Assert.DoesNotContain("{{data}}", course, StringComparison.Ordinal);
        await CommandLine.Success("sae", "features", sae, "--tokens", "3000", "--out", page);
        Assert.Contains("class=\"block\"", File.ReadAllText(page), StringComparison.Ordinal);
    }

    public static IEnumerable<TheoryDataRow<string, string>> Choices() =>
        from recipe in Enum("recipe")
        from architecture in Enum("architecture")
        select new TheoryDataRow<string,
            string>(recipe, architecture);

    /// <summary>Every choice trains and is written so that it can be read, or is refused with advice.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public async Task Every_architecture_of_every_recipe_trains(string recipe, string architecture)
    {
        bool absent = recipe == "sparsify" ? architecture != "topk" : recipe == "dictionary_learning" && architecture == "matching_pursuit";
        string sae = PathOf("sae");
        string[] command = ["sae", "train", "tales", "--out", sae, "--steps", "4", .. s_small, $"recipe={recipe}",
            $"architecture={architecture}"];
        if (absent)
        {
            Assert.Contains($"has no architecture '{architecture}'", await CommandLine.Failure(command), StringComparison.Ordinal);
            return;
        }

        await CommandLine.Success(command);
        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryFile.Read(sae);
        Assert.Equal(architecture switch
        {
            "standard" => ActivationKind.Relu,
            "gated" => ActivationKind.Gated,
            "topk" => ActivationKind.TopK,
            "matching_pursuit" => ActivationKind.MatchingPursuit,
            _ => ActivationKind.JumpRelu,
        }, config.Rule.Kind);
        Assert.All(parameters.Decoder, value => Assert.True(float.IsFinite(value)));
    }

    [Theory]
    [InlineData("topk", "interp", false)]
    [InlineData("topk", "sparsify", true)]
    [InlineData("standard", "saelens", true)]
    [InlineData("batchtopk", "dictionary_learning", false)]
    public async Task A_transcoder_learns_what_one_point_makes_of_another(string architecture, string recipe, bool skip)
    {
        string sae = PathOf("sae");
        await CommandLine.Success([
            "sae", "train", "tales", "--out", sae, "--steps", "40", "--point", "blocks.1.ln2.hook_normalized", .. s_small,
            "target=blocks.1.hook_mlp_out", $"architecture={architecture}", $"recipe={recipe}", $"skip={(skip ? "true" : "false")}",
        ]);
        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryFile.Read(sae);
        Assert.Equal(("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out", true),
            (config.HookName, config.HookNameOut, config.IsTranscoder));
        Assert.Equal(skip, parameters.Skip is not null);
        JsonElement eval = await CommandLine.Json("sae", "eval", sae, "--tokens", "1000", "--json");
        Assert.InRange(eval.GetProperty("reconstruction_quality").GetProperty("explained_variance").GetDouble(), -0.5, 1);
    }

    [Theory]
    [InlineData("layer_norm", InputNormalization.LayerNorm)]
    [InlineData("constant_norm", InputNormalization.ConstantNorm)]
    public async Task Rows_are_normalised_in_training_as_in_use(string name, InputNormalization normalization)
    {
        string sae = PathOf("sae");
        await CommandLine.Success(["sae", "train", "tales", "--out", sae, "--steps", "150", .. s_small, $"normalize={name}"]);
        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        using SparseDictionary dictionary = SparseDictionary.Load(sae, device);
        Assert.Equal(normalization, dictionary.Config.Normalization);
        var site = new DictionarySite(model, dictionary);
        using RunResult run = model.Run(model.Tokenize(TalesCorpus.Documents(5).Take(20)), site.Options);
        using Tensor decoded = dictionary.Reconstruct(run.Cache[site.Reads[0]]);
        (float[] x, float[] y, int d) = (run.Cache[site.Reads[0]].ToArray<float>(), decoded.ToArray<float>(), site.Dictionary.Config.InputWidth);
        double error = x.Zip(y, (a, b) => (double)(a - b) * (a - b)).Sum();
        double[] mean = [.. Enumerable.Range(0, d).Select(i => x.Where((_, at) => at % d == i).Average(value => (double)value))];
        double spread = x.Select((value, at) => (value - mean[at % d]) * (value - mean[at % d])).Sum();
        double explained = JsonDocument.Parse(File.ReadLines(Path.Combine(sae, TrainingLog.FileName)).Last()).RootElement.GetProperty("explained").GetDouble();
        Assert.InRange(1 - error / spread, explained - 0.1, 1);
    }

    [Fact]
    public async Task A_sweep_trains_several_dictionaries_from_the_same_rows_each_as_if_alone()
    {
        string alone = PathOf("alone"), sweep = PathOf("sweep"), plot = PathOf("course.html");
        string[] Train(string folder, params string[] more) =>
            ["sae", "train", "tales", "--out", folder, "--steps", "30", "--checkpoint-every", "10", "--set", "batch=128", "buffer=1024",
                "context=64", "features=64", .. more];
        await CommandLine.Success(Train(alone, "--k", "8"));
        JsonElement summary = await CommandLine.Json(Train(sweep, "--sweep", "k=4,8", "--plot", plot, "--json"));
        JsonElement[] dictionaries = [.. summary.GetProperty("dictionaries").EnumerateArray()];
        Assert.Equal([4.0, 8.0], dictionaries.Select(one => Math.Round(one.GetProperty("l0").GetDouble())));
        Assert.Equal(File.ReadAllBytes(Path.Combine(alone, "sae_weights.safetensors")), File.ReadAllBytes(Path.Combine(sweep, "k-8", "sae_weights.safetensors")));
        Assert.Contains("\"k-4\"", File.ReadAllText(plot), StringComparison.Ordinal);
        await CommandLine.Success(Train(sweep, "--sweep", "k=8,4", "--resume"));
        Assert.Contains("not of the run", await CommandLine.Failure(Train(sweep, "--sweep", "k=4,9", "--resume")), StringComparison.Ordinal);
        Assert.Contains("--sweep is 'k'", await CommandLine.Failure(Train(sweep, "--sweep", "k")), StringComparison.Ordinal);
        Assert.Contains("'steps' is the same", await CommandLine.Failure(Train(sweep, "--sweep", "steps=1,2")), StringComparison.Ordinal);
        Assert.Contains("as ExpectedAverage and as None", await CommandLine.Failure(
            Train(PathOf("x"), "--k", "8", "--sweep", "architecture=topk,standard")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dictionary_is_trained_on_from_a_file()
    {
        string first = PathOf("first"), more = PathOf("more");
        string[] Train(string folder, params string[] settings) => ["sae", "train", "tales", "--out", folder, "--set", "batch=128", "buffer=1024",
            "context=64", .. settings];
        await CommandLine.Success(Train(first, "features=64", "k=4", "architecture=batchtopk", "--steps", "60"));
        JsonElement after = await CommandLine.Json(Train(more, $"warm_start={first}", "--steps", "3", "--json"));
        JsonElement before = await CommandLine.Json("sae", "eval", first, "--tokens", "4000", "--context", "64", "--json");
        Assert.InRange(
            after.GetProperty("explained_variance").GetDouble(),
            before.GetProperty("reconstruction_quality").GetProperty("explained_variance").GetDouble() - 0.05, 1);
        Assert.Contains("'features' is 8", await CommandLine.Failure(Train(PathOf("x"), $"warm_start={first}", "features=8")), StringComparison.Ordinal);
        Assert.Contains("the rows here are", await CommandLine.Failure(
            Train(PathOf("x"), $"warm_start={first}", "point=blocks.0.mlp.hook_post")), StringComparison.Ordinal);
        await CommandLine.Success(Train(PathOf("other"), $"warm_start={first}", "architecture=topk", "k=2", "--steps", "2"));
        Assert.Equal(2, DictionaryFile.Read(PathOf("other")).Config.Rule.K);
    }

    [Theory]
    [InlineData("expected_average")]
    [InlineData("root_mean_square")]
    [InlineData("whiten")]
    public async Task A_scale_that_was_estimated_is_folded_into_the_weights_also_when_a_run_is_resumed(string scale)
    {
        string[] Train(string folder, string steps, params string[] more) => ["sae", "train", "tales", "--out", folder, "--steps", steps,
            "--json", .. more, .. s_small, $"normalize={scale}", "normalize_batches=10"];
        string whole = PathOf("whole"), parts = PathOf("parts");
        JsonElement summary = await CommandLine.Json(Train(whole, "120", "--checkpoint-every", "60"));
        Assert.InRange(summary.GetProperty("explained_variance").GetDouble(), 0.2, 1);
        Directory.CreateDirectory(parts);
        File.Copy(Path.Combine(whole, "checkpoint.safetensors"), Path.Combine(parts, "checkpoint.safetensors"));
        File.Copy(Path.Combine(whole, "train.json"), Path.Combine(parts, "train.json"));
        await CommandLine.Success(Train(parts, "120", "--resume"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(whole, "sae_weights.safetensors")), File.ReadAllBytes(Path.Combine(parts, "sae_weights.safetensors")));
    }

    [Fact]
    public async Task Rows_come_from_a_capture()
    {
        string capture = PathOf("capture"), sae = PathOf("sae"), text = PathOf("text.txt");
        File.WriteAllLines(text, TalesCorpus.Documents(7).Take(100));
        await CommandLine.Success("capture", "tales", "--text", text, "--points", "blocks.1.hook_resid_post", "--out", capture);
        JsonElement summary = await CommandLine.Json(["sae", "train", "tales", "--out", sae, "--steps", "40", "--point", "blocks.1.hook_resid_post",
            "--json", .. s_small, $"capture={capture}", "resample=anthropic", "resample_every=10", "resample_after=640"]);
        Assert.InRange(summary.GetProperty("explained_variance").GetDouble(), 0.1, 1);
        Assert.Contains("has no tensor", await CommandLine.Failure(["sae", "train", "tales", "--out", PathOf("x"), "--point",
            "blocks.2.hook_resid_post", .. s_small, $"capture={capture}"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_that_was_killed_goes_on_to_the_same_weights()
    {
        string[] Train(string folder, params string[] more) =>
            ["sae", "train", "tales", "--out", folder, "--steps", "400", "--checkpoint-every", "10", .. more, .. s_small];
        string whole = PathOf("whole"), parts = PathOf("parts");
        await CommandLine.Success(Train(whole));
        using (Process process = CommandLine.Start(Train(parts)))
        {
            await CommandLine.UntilExists(process, Path.Combine(parts, "checkpoint.safetensors"));
            process.Kill();
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        Assert.False(File.Exists(Path.Combine(parts, "sae_weights.safetensors")));
        File.AppendAllText(Path.Combine(parts, TrainingLog.FileName), "{\"step\":");
        (int code, _, string error) = await CommandLine.Run(Train(parts, "--resume"));
        Assert.True(code == 0, error);
        Assert.Contains("Going on from step", error, StringComparison.Ordinal);
        Assert.Equal(File.ReadAllBytes(Path.Combine(whole, "sae_weights.safetensors")),
            File.ReadAllBytes(Path.Combine(parts, "sae_weights.safetensors")));
        Assert.Equal(Steps(whole), Steps(parts));

        static IEnumerable<int> Steps(string folder) => File.ReadLines(Path.Combine(folder, TrainingLog.FileName))
            .Select(line => JsonDocument.Parse(line).RootElement.GetProperty("step").GetInt32());
    }

    [Fact]
    public async Task What_is_there_is_not_lost_by_mistake()
    {
        string sae = PathOf("sae");
        string[] Train(params string[] more) => ["sae", "train", "tales", "--out", sae, "--steps", "4", .. more, .. s_small];
        await CommandLine.Success(Train());
        Assert.Contains("--overwrite", await CommandLine.Failure(Train()), StringComparison.Ordinal);
        Assert.Contains("'seed' 0, but 3", await CommandLine.Failure(Train("--resume", "--seed", "3")), StringComparison.Ordinal);
        await CommandLine.Success(Train("--resume"));
        Assert.Contains("blocks.9", await CommandLine.Failure(Train("--overwrite", "--point", "blocks.9.hook_resid_post")),
            StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(sae, "sae_weights.safetensors")));
        await CommandLine.Success(Train("--overwrite", "--seed", "3"));
    }

    [Fact]
    public async Task Mistakes_are_named()
    {
        async Task Refused(string part, params string[] more) => Assert.Contains(
            part, await CommandLine.Failure(["sae", "train", "tales", "--out", PathOf("x"), .. more]), StringComparison.Ordinal);
        await Refused("'speed' is no setting", "--config", Config("""{"speed": 3}"""));
        await Refused("'batch' is 0; expected an integer of at least 1", "--config", Config("""{"batch": 0}"""));
        await Refused("no setting 'speed'", "--set", "speed=3");
        await Refused("--set rate is 'fast'; expected a number above 0", "--set", "rate=fast");
        await Refused("--k is '0'", "--k", "0");
        await Refused("k is 2.5", "--set", "k=2.5");
        await Refused("k is 32 of 8", "--features", "8");
        await Refused("levels are [8,4]", "--features", "8", "--k", "2", "--set", "architecture=matryoshka", "levels=[8,4]");
        await Refused("blocks.9.hook_resid_post", "--point", "blocks.9.hook_resid_post");
        await Refused("cannot be 'gated'", "--set", "architecture=gated", "target=blocks.1.hook_mlp_out");
        await Refused("cannot fall from 2 to 8", "--k", "8", "--set", "first_k=2");
        await Refused("cannot fall from 0 to 8", "--k", "8", "--set", "recipe=saelens", "k_annealing=0.5");
        await Refused("for transcoders", "--set", "skip=true");
        await Refused("less than one sequence", "--text", Text("a b"));
        Assert.Contains("--out DIR", await CommandLine.Failure("sae", "train", "tales"), StringComparison.Ordinal);
        Assert.Contains("Which model?", await CommandLine.Failure("sae", "train", "--out", PathOf("x")), StringComparison.Ordinal);
        Assert.False(Directory.Exists(PathOf("x")));
    }

    private static IEnumerable<string> Enum(string setting) =>
        JsonDocument.Parse(TrainingSettings.Schema).RootElement.GetProperty("properties").GetProperty(setting).GetProperty("enum")
            .EnumerateArray()
            .Select(choice => choice.GetString()!);

    private string PathOf(string name) => Path.Combine(_folder, name);

    private string Config(string json)
    {
        File.WriteAllText(PathOf("config.json"), json);
        return PathOf("config.json");
    }

    private string Text(string text)
    {
        File.WriteAllText(PathOf("text.txt"), text);
        return PathOf("text.txt");
    }
}
