using System.Text.Json;
using InterpEngine.Cli.Scan;
using InterpEngine.Cli.Tests.Sae;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests.Scan;

/// <summary><c>interp scan --sae</c>: features on each token.</summary>
public sealed class FeatureScanTests : IDisposable
{
    private const string Prompt = "The capital of France is", Point = "blocks.2.hook_resid_post";
    private readonly TemporaryFolder _folder = new();
    private readonly Device _device = Device.Cpu(threads: 1);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Features_are_those_of_the_library()
    {
        string sae = Write(Point, features: 40, "sae");
        double[] densities = [.. Enumerable.Range(0, 40).Select(f => f / 40.0)];
        FeatureDensities.Write(sae, densities);
        ScanReport report = await Scan("--sae", sae, "--against", "Rome");
        DictionaryReading reading = Assert.Single(report.Dictionaries);
        using Model model = Model.Load(Model.TalesPath, _device);
        using SparseDictionary dictionary = SparseDictionary.Load(sae, _device);
        using RunResult run = model.Run(
            model.Tokenize(Prompt), new RunOptions { Capture = HookSelection.Create(Point, "ln_final.hook_scale") });
        using Encoding encoding = dictionary.Encode(run.Cache[Point]);
        float[] dense = encoding.Features.ToDense();
        Assert.Equal((Point, 40, "sae"), (reading.Point, reading.Features, reading.Name));
        Assert.Equal(report.Tokens.Count, reading.Tokens.Count);
        for (int token = 0; token < reading.Tokens.Count; token++)
        {
            var expected = Enumerable.Range(0, 40).Select(f => (Feature: f, Value: dense[token * 40 + f])).Where(f => f.Value > 0)
                .OrderByDescending(f => f.Value).ToArray();
            Assert.Equal(expected.Length, reading.Active[token]);
            Assert.Equal(expected.Take(32), reading.Tokens[token].Select(f => (f.Feature, f.Value)));
        }

        // Decoder, final norm and unembedding are linear once the norm's scale is frozen.
        var site = new DictionarySite(model, dictionary);
        float scale = run.Cache["ln_final.hook_scale"].ToArray<float>()[^1];
        foreach (KnownFeature known in reading.Known)
        {
            float towards = FeatureLogits.Towards(site, [known.Feature], report.Answer.Id, report.Against!.Id)[0];
            Assert.Equal(towards * dense[^(40 - known.Feature)] / scale, known.Adds!.Value, 1e-4f);
            Assert.Equal(densities[known.Feature], known.Density!.Value, 1e-6);
            Assert.Equal(8, known.Raises!.Count);
        }
    }

    [Fact]
    public async Task Several_dictionaries_at_any_points_and_a_transcoder_for_every_layer()
    {
        int width = Model.ReadDescription(Model.TalesPath).Width;
        string z = Write("blocks.1.attn.hook_z", features: 20, "z"), elsewhere = Write(null, features: 20, "else@where");
        string set = TranscoderFolder.Write(_folder["set"], width, layers: 4, features: 9);
        ScanReport report = await Scan("--sae", z, "--sae", $"{elsewhere}@blocks.0.ln2.hook_normalized", "--sae", set);
        Assert.Equal(
            ["blocks.1.attn.hook_z", "blocks.0.ln2.hook_normalized", .. Enumerable.Range(0, 4)
                .Select(layer => $"blocks.{layer}.hook_resid_mid")],
            report.Dictionaries.Select(reading => reading.Point));
        Assert.Equal([true, false, true, true, true, true], report.Dictionaries.Select(reading => reading.WithoutLogits is null));
        Assert.All(report.Dictionaries, reading => Assert.NotEmpty(reading.Known));
        string text = await CommandLine.Success("scan", Prompt, "--sae", z, "--no-html", "--top", "3");
        Assert.Contains("Features of z at blocks.1.attn.hook_z", text, StringComparison.Ordinal);
        Assert.All(text.Split('\n'), line => Assert.True(line.Length <= 120, line));
    }

    public static IEnumerable<TheoryDataRow<string>> Goldens()
    {
        string folder = InterpEngine.Tests.Goldens.Folder("sae");
        return Directory.Exists(folder)
            ? Directory.GetDirectories(folder).Select(path => new TheoryDataRow<string>(Path.GetFileName(path))) : [];
    }

    /// <summary>Every format that is read can be looked at; the model is one of the same width.</summary>
    [Theory]
    [MemberData(nameof(Goldens))]
    public void Every_format_is_read(string name)
    {
        string folder = InterpEngine.Tests.Goldens.Folder("sae", name), inference = Path.Combine(folder, "inference");
        folder = Directory.Exists(inference) ? inference : folder;
        using Model model = Model.Load(InterpEngine.Tests.Goldens.Folder("sae-eval", "saelens-eval-resid", "model"), _device);
        IReadOnlyList<ScannedDictionary> dictionaries;
        try
        {
            string points = name.StartsWith("crosscoder", StringComparison.Ordinal)
                ? string.Join(',', Enumerable.Range(0, DictionaryFile.Read(folder).Config.Layers)
                    .Select(i => $"blocks.{i % 2}.hook_resid_{(i < 2 ? "pre" : "post")}"))
                : name.StartsWith("circuittracer", StringComparison.Ordinal) ? "hook_resid_mid" : "blocks.1.hook_resid_pre";
            dictionaries = ScannedDictionary.Open($"{folder}@{points}", model);
        }
        catch (InterpEngine.Formats.InvalidFileException e) when (name.Contains("decoupled", StringComparison.Ordinal))
        {
            Assert.Contains("activated separately", e.Message, StringComparison.Ordinal);
            return;
        }

        foreach (ScannedDictionary dictionary in dictionaries.Take(model.Description.Layers))
        {
            using RunResult run = model.Run(
                TokenBatch.Single(3, 1, 4, 1, 5),
                    new RunOptions
                    {
                        Capture = HookSelection.FromPoints(
                        [.. dictionary.Reads(model), new HookPoint(HookKind.LnFinalScale)])
                    });
            DictionaryReading reading = new FeatureScan(model, run.Cache, id => $"{id}").Read(dictionary, answer: 7, against: null);
            Assert.Equal(5, reading.Tokens.Count);
        }

        foreach (ScannedDictionary dictionary in dictionaries)
        {
            dictionary.Dispose();
        }
    }

    [Fact]
    public async Task What_does_not_fit_is_said()
    {
        string nowhere = Write(null, features: 4, "nowhere");
        Assert.Contains("DIR@POINT", await CommandLine.Failure("scan", Prompt, "--no-html", "--sae", nowhere), StringComparison.Ordinal);
        Assert.Contains("width 128", await CommandLine.Failure(
            "scan", Prompt, "--no-html", "--sae", $"{nowhere}@blocks.1.mlp.hook_post,blocks.0.mlp.hook_post"), StringComparison.Ordinal);
        Assert.Contains("no such folder", await CommandLine.Failure("scan", Prompt, "--no-html", "--sae", _folder["nothing"]),
            StringComparison.Ordinal);
    }

    private static async Task<ScanReport> Scan(params string[] more) =>
        JsonSerializer.Deserialize(await CommandLine.Success(["scan", Prompt, "--json", .. more]), ScanJson.Default.ScanReport)!;

    private string Write(string? point, int features, string name)
    {
        int width = Model.ReadDescription(Model.TalesPath).Width;
        var random = new Random(features);
        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
        DictionaryFile.Write(
            _folder[name],
            new DictionaryConfig
            {
                InputWidth = width,
                OutputWidth = width,
                Features = features,
                Rule = ActivationRule.Relu,
                HookName = point
            },
            new DictionaryParameters
            {
                Encoder = Values(features * width),
                Decoder = Values(features * width),
                EncoderBias = Values(features),
                DecoderBias = Values(width),
            });
        return _folder[name];
    }
}
