using InterpEngine.Captures;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>
/// Three architectures through the GPU's kernels on ILGPU's simulator: the golden values, and promises 1 and 2 to the bit. A machine with
/// a GPU runs all cases of all families through them.
/// </summary>
public sealed class GpuModelTests(ITestOutputHelper output)
{
    public static TheoryData<string> Cases => ["gpt2", "llama", "gemma2"];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_tensor_is_the_true_one(string name)
    {
        using var golden = new GoldenModel(name);
        using Device device = TestDevices.Open(TestDevices.Simulated);
        Dictionary<string, double> errors = GoldenModelTests.Compare(golden, device).Errors;
        (string worst, double error) = errors.MaxBy(entry => entry.Value);
        output.WriteLine($"{name}: {errors.Count} tensors compared, worst {error:F2} of the bound ({worst})");
        Assert.All(errors, entry => Assert.True(entry.Value <= 2, $"{entry.Key} is off by {entry.Value:F2} of the bound"));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Looking_company_and_pieces_change_nothing(string name)
    {
        using var golden = new GoldenModel(name);
        using Device device = TestDevices.Open(TestDevices.Simulated);
        foreach (ElementType weights in (ElementType[])[ElementType.F32, ElementType.BF16])
        {
            using Model model = Model.Load(golden.Folder, device, new LoadOptions { WeightType = weights });
            int[] tokens = [.. golden.Tokens.Ids.ToArray().Take(7)];
            float[] alone = Logits(model, TokenBatch.Single(tokens), new RunOptions());
            Assert.Equal(alone, Logits(model, TokenBatch.Single(tokens), new RunOptions { Capture = HookSelection.All }));
            Assert.Equal(alone, Logits(
                model, TokenBatch.Single(tokens), new RunOptions { Hooks = [new Hook(HookSelection.All, (_, _) => null)] }));

            TokenBatch padded = TokenBatch.LeftPadded([tokens, [.. tokens.Reverse(), .. tokens]]);
            float[] both = Logits(model, padded, new RunOptions());
            int row = padded.Length * model.Description.Vocabulary;
            Assert.Equal(alone, both[(row - alone.Length)..row]);

            using KeyValueCache cache = model.CreateCache(1, tokens.Length);
            float[] pieces =
            [
                .. Logits(model, TokenBatch.Single(tokens[..4]), new RunOptions { Cache = cache }),
                .. tokens[4..].SelectMany(token => Logits(model, TokenBatch.Single(token), new RunOptions { Cache = cache })),
            ];
            Assert.Equal(alone, pieces);
        }
    }

    [Fact]
    public void Greedy_tokens_are_equal()
    {
        using var golden = new GoldenModel("gpt2");
        using Device device = TestDevices.Open(TestDevices.Simulated);
        using Model model = Model.Load(golden.Folder, device);
        var options = new GenerationOptions { MaxTokens = 4, StopAtEnd = false };
        Assert.Equal(golden.Greedy[..4], model.Generate(TokenBatch.Single(golden.Prompt), options).Select(step => step[0]!.Id));
    }

    /// <summary>A recorded step, in which the device follows the router's choice, has the bits of the whole text, in which the host groups
    /// the rows by expert.</summary>
    [Theory]
    [InlineData("mixtral", ElementType.F32)]
    [InlineData("mixtral", ElementType.I8)]
    [InlineData("gpt_oss", ElementType.BF16)]
    [InlineData("deepseek_v3", ElementType.F32)]
    [InlineData("qwen3_moe", ElementType.BF16)]
    public void Mixtures_step_as_they_run(string name, ElementType weights)
    {
        using var golden = new GoldenModel(name);
        using Device device = TestDevices.Open(TestDevices.Simulated);
        using Model model = Model.Load(golden.Folder, device, new LoadOptions { WeightType = weights });
        var options = new GenerationOptions { MaxTokens = 4, StopAtEnd = false };
        int[] prompt = [.. golden.Tokens.Ids.ToArray().Take(5)];
        GeneratedToken[] tokens = [.. model.Generate(TokenBatch.Rectangle([.. prompt, .. prompt.Reverse()], 2, 5), options).Select(step => step[0]!)];
        using RunResult whole = model.Run(
            TokenBatch.Single([.. prompt, .. tokens.Select(token => token.Id)]),
            new RunOptions { Logits = LogitsWanted.None, Predictions = new PredictionOptions { Top = 1 } });
        for (int i = 0; i < tokens.Length; i++)
        {
            Assert.Equal(whole.Predictions!.Top[0, prompt.Length - 1 + i, 0], tokens[i].Id);
            Assert.Equal(whole.Predictions.TopLogProbabilities[0, prompt.Length - 1 + i, 0], tokens[i].LogProbability);
        }
    }

    /// <summary>What a streaming capture reads beside the next batch is what a run gives.</summary>
    [Fact]
    public void Captures_stream()
    {
        using var golden = new GoldenModel("gpt2");
        using var folder = new TemporaryFolder();
        using Device device = TestDevices.Open(TestDevices.Simulated);
        using Model model = Model.Load(golden.Folder, device);
        int[] tokens = golden.Tokens.Ids.ToArray();
        CaptureSequence[] sequences = [.. Enumerable.Range(0, 3).Select(i => new CaptureSequence(i, tokens[i..(i + 4)]))];
        const string point = "blocks.1.hook_resid_post";
        using (var capture = FolderCapture.Open(model, sequences, folder["out"], new CaptureOptions { Points = point, Batch = 1 }))
        {
            capture.Run(null, TestContext.Current.CancellationToken);
        }

        using SafetensorsFile shard = SafetensorsFile.Open(Assert.Single(Directory.GetFiles(folder["out"], "*.safetensors")));
        float[] stored = shard.Tensors[point].ToSingles();
        IEnumerable<float> expected = sequences.SelectMany(sequence =>
        {
            using RunResult run = model.Run(TokenBatch.Single([.. sequence.Ids]), new RunOptions { Capture = point });
            return run.Cache[point].ToArray<float>();
        });
        Assert.Equal(expected, stored);
    }

    private static float[] Logits(Model model, TokenBatch tokens, RunOptions options)
    {
        using RunResult run = model.Run(tokens, options);
        return run.Logits!.ToArray<float>();
    }
}
