using System.Text.Json;
using InterpEngine.Cli.Tests.Scan;
using InterpEngine.Kernels.Gpu;
using InterpEngine.Tests;
using Xunit;

namespace InterpEngine.Cli.Tests;

/// <summary>info, doctor, tokenize.</summary>
public sealed class InspectionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public async Task Info_counts_parameters_and_lists_every_point()
    {
        JsonElement info = await CommandLine.Json("info", "tales", "--json");
        Assert.Equal(("gpt2", 940_800), (info.GetProperty("family").GetString(), info.GetProperty("parameters").GetInt32()));
        JsonElement[] points = [.. info.GetProperty("points").EnumerateArray()];
        Assert.Equal(96, points.Length);
        JsonElement pattern = points.Single(point => point.GetProperty("name").GetString() == "blocks.3.attn.hook_pattern");
        Assert.Equal("""["b",4,"q","k"]""", pattern.GetProperty("shape").GetRawText().Replace(" ", "", StringComparison.Ordinal)
            .ReplaceLineEndings(""));
        JsonElement memory = info.GetProperty("memory");
        Assert.Equal(4 * 940_800, memory.GetProperty("weight_bytes").GetInt32());
        Assert.Equal(4 * 2 * 4 * 128, memory.GetProperty("cache_bytes_per_token").GetInt32());
        JsonElement activations = memory.GetProperty("activation_bytes_per_token");
        Assert.Equal(4 * 4 * 128, activations.GetProperty("blocks.*.hook_resid_post").GetInt32());
        Assert.False(info.TryGetProperty("absent", out _));
    }

    [Fact]
    public async Task Info_says_why_a_point_is_absent()
    {
        JsonElement info = await CommandLine.Json("info", "tales", "--all", "--json");
        string[] absent = [.. info.GetProperty("absent").EnumerateArray().Select(point => point.GetProperty("name").GetString()!)];
        Assert.Superset(
            new HashSet<string> { "blocks.{i}.attn.hook_rot_q", "blocks.{i}.mlp.hook_pre_linear", "blocks.{i}.mlp.hook_router_logits" },
            absent.ToHashSet());
        Assert.All(info.GetProperty("absent").EnumerateArray(), point => Assert.NotEmpty(point.GetProperty("reason").GetString()!));
        Assert.DoesNotContain("blocks.{i}.attn.hook_q", absent);
        Assert.Contains("not rotated", await CommandLine.Success("info", "tales", "--all"), StringComparison.Ordinal);
        Assert.DoesNotContain("not rotated", await CommandLine.Success("info", "tales"), StringComparison.Ordinal);
    }

    public static TheoryData<string> GoldenModels =>
        [.. Directory.EnumerateDirectories(Path.Combine(EncoderScanTests.Goldens, "models")).Select(folder => Path.GetFileName(folder)!)];

    /// <summary>Sizes and points of every architecture; the weights' size is what the files say.</summary>
    [Theory]
    [MemberData(nameof(GoldenModels))]
    public async Task Info_knows_every_architecture(string name)
    {
        string folder = Path.Combine(EncoderScanTests.Goldens, "models", name);
        JsonElement info = await CommandLine.Json("info", folder, "--all", "--json");
        Assert.True(info.GetProperty("points").GetArrayLength() > 10);
        int stored = info.GetProperty("memory").GetProperty("stored_bytes").GetInt32();
        int perNumber = info.GetProperty("memory").GetProperty("stored_types")[0].GetString() == "F32" ? 4 : 2;
        Assert.Equal(stored / perNumber, info.GetProperty("parameters").GetInt32());
        string text = await CommandLine.Success("info", folder, "--all");
        Assert.Contains(info.GetProperty("family").GetString()!, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Info_needs_no_weights()
    {
        File.Copy(Path.Combine(Model.TalesPath, "config.json"), _folder["config.json"]);
        string output = await CommandLine.Success("info", _folder.Path);
        Assert.Contains("940,800", output, StringComparison.Ordinal);
        Assert.Contains("unknown", output, StringComparison.Ordinal);
        JsonElement info = await CommandLine.Json("info", _folder.Path, "--json");
        Assert.Equal(JsonValueKind.Null, info.GetProperty("memory").GetProperty("stored_bytes").ValueKind);
    }

    [Fact]
    public async Task Doctor_measures_the_machine()
    {
        JsonElement doctor = await CommandLine.Json("doctor", "--json", "--threads", "1");
        Assert.True(doctor.GetProperty("native_library").GetProperty("found").GetBoolean());
        Assert.True(File.Exists(doctor.GetProperty("native_library").GetProperty("path").GetString()));
        JsonElement cpu = doctor.GetProperty("devices")[0];
        Assert.Equal(("cpu", 1), (cpu.GetProperty("name").GetString(), cpu.GetProperty("threads").GetInt32()));
        Assert.InRange(cpu.GetProperty("fp32_gflops").GetDouble(), 0.1, 10_000);
        Assert.InRange(cpu.GetProperty("read_gigabytes_per_second").GetDouble(), 0.1, 10_000);
        foreach (JsonElement library in (JsonElement[])[doctor.GetProperty("cuda_driver"), doctor.GetProperty("cublaslt")])
        {
            Assert.Equal(library.GetProperty("found").GetBoolean(), library.GetProperty("defect").ValueKind == JsonValueKind.Null);
        }

        Assert.Equal(CudaGpu.All.Select(gpu => gpu.Name), doctor.GetProperty("devices").EnumerateArray()
            .Where(device => device.TryGetProperty("gpu", out _)).Select(device => device.GetProperty("gpu").GetString()!));
    }

    [Fact]
    public async Task Tokenize_gives_ids_tokens_and_offsets()
    {
        JsonElement result = await CommandLine.Json("tokenize", "tales", "The ä", "--json");
        Assert.Equal([278, 221, 128, 98], result.GetProperty("ids").EnumerateArray().Select(id => id.GetInt32()));
        Assert.Equal("The", result.GetProperty("tokens")[0].GetString());
        Assert.Equal([0, 3, 3, 4, 4, 5, 4, 5], result.GetProperty("offsets").EnumerateArray()
            .SelectMany(pair => pair.EnumerateArray()).Select(value => value.GetInt32()));
    }

    [Fact]
    public async Task Tokenize_reads_files_and_shows_a_table()
    {
        await File.WriteAllTextAsync(_folder["text.txt"], "The park", TestContext.Current.CancellationToken);
        string table = await CommandLine.Success("tokenize", "tales", "--file", _folder["text.txt"]);
        Assert.Equal(await CommandLine.Success("tokenize", "tales", "The park"), table);
        Assert.Matches(@"0\s+278\s+The\s+'The'\s+0\.\.3", table);
    }

    public void Dispose() => _folder.Dispose();
}
