using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>
/// Every checkpoint of goldens/models on every backend: all stored tensors within the rule of the goldens' README, which is about twice
/// the error of Hugging Face's own fp32 run. Families that the engine does not know must be refused by name.
/// </summary>
public sealed class GoldenModelTests(ITestOutputHelper output)
{
    public static TheoryData<string, string> CasesAndDevices()
    {
        var data = new TheoryData<string, string>();
        foreach (string name in Goldens.Cases("models"))
        {
            foreach (string device in TestDevices.Names)
            {
                data.Add(name, device);
            }
        }

        return data;
    }

    public static TheoryData<string> Devices => [.. TestDevices.Names];

    [Fact]
    public void There_are_cases() => Assert.NotEmpty(Goldens.Cases("models"));

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Every_tensor_is_the_true_one(string name, string deviceName)
    {
        using var golden = new GoldenModel(name);
        using Device device = TestDevices.Open(deviceName);
        if (!ModelFamilies.Names.Contains(golden.ModelType))
        {
            ModelException refused = Assert.Throws<ModelException>(() => Model.Load(golden.Folder, device));
            Assert.Contains($"'{golden.ModelType}'", refused.Message, StringComparison.Ordinal);
            output.WriteLine($"{name}: refused: {refused.Message}");
            return;
        }

        (Dictionary<string, double> errors, int gradients) = Compare(golden, device);
        (string worst, double error) = errors.MaxBy(entry => entry.Value);
        output.WriteLine($"{name} on {device.Name}: {errors.Count} tensors compared, worst {error:F2} of the bound ({worst}); "
            + $"{gradients} gradients not yet compared");
        Assert.All(errors, entry => Assert.True(entry.Value <= 2, $"{entry.Key} is off by {entry.Value:F2} of the bound"));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Ninety_nine_of_a_hundred_tensors_are_within_the_bound_itself(string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        var errors = new List<double>();
        foreach (string name in Goldens.Cases("models"))
        {
            using var golden = new GoldenModel(name);
            if (ModelFamilies.Names.Contains(golden.ModelType))
            {
                errors.AddRange(Compare(golden, device).Errors.Values);
            }
        }

        int within = errors.Count(error => error <= 1);
        output.WriteLine($"{within} of {errors.Count} tensors within the bound on {device.Name}");
        Assert.True(within >= 0.99 * errors.Count, $"only {within} of {errors.Count} tensors are within the bound");
    }

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Greedy_tokens_are_equal(string name, string deviceName)
    {
        using var golden = new GoldenModel(name);
        if (!ModelFamilies.Names.Contains(golden.ModelType))
        {
            return;
        }

        using Device device = TestDevices.Open(deviceName);
        using Model model = Model.Load(golden.Folder, device);
        if (!golden.Generates)
        {
            ModelException refused = Assert.Throws<ModelException>(() => model.Generate(golden.Tokens));
            Assert.Contains("encoder", refused.Message, StringComparison.Ordinal);
            return;
        }

        var options = new GenerationOptions { MaxTokens = golden.Greedy.Length, StopAtEnd = false };
        Assert.Equal(golden.Greedy, model.Generate(TokenBatch.Single(golden.Prompt), options).Select(step => step[0]!.Id));
    }

    /// <summary>Weights and what they multiply in BF16: at most twice Hugging Face's bfloat16 error, in the worst logit and in all.</summary>
    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Logits_of_bf16_weights_are_as_near_as_hugging_faces(string name, string deviceName)
    {
        using var golden = new GoldenModel(name);
        if (!ModelFamilies.Names.Contains(golden.ModelType))
        {
            return;
        }

        using Device device = TestDevices.Open(deviceName);
        using Model model = Model.Load(golden.Folder, device, new LoadOptions { WeightType = ElementType.BF16 });
        using RunResult run = model.Run(golden.Tokens);
        float[] logits = run.Logits!.ToArray<float>(), truth = golden.Truth("logits");
        double largest = 0, squares = 0;
        for (int i = 0; i < truth.Length; i++)
        {
            double error = (double)logits[i] - truth[i];
            (largest, squares) = (Math.Max(largest, Math.Abs(error)), squares + error * error);
        }

        double frobenius = Math.Sqrt(squares / truth.Sum(x => (double)x * x));
        (double Largest, double Frobenius) bound = golden.BFloat16Error;
        output.WriteLine($"{name} on {device.Name}: {largest / bound.Largest:F2} and {frobenius / bound.Frobenius:F2} of Hugging Face's error");
        Assert.True(largest <= 2 * bound.Largest, $"the worst logit is off by {largest}; Hugging Face's by {bound.Largest}");
        Assert.True(frobenius <= 2 * bound.Frobenius, $"the logits are off by {frobenius}; Hugging Face's by {bound.Frobenius}");
    }

    /// <summary>The settings as Transformers 4 spells them give the same model, to the bit.</summary>
    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Both_spellings_of_the_settings_agree(string name, string deviceName)
    {
        using var golden = new GoldenModel(name);
        if (!ModelFamilies.Names.Contains(golden.ModelType))
        {
            return;
        }

        using Device device = TestDevices.Open(deviceName);
        using var older = new TemporaryFolder();
        foreach (string file in Directory.EnumerateFiles(golden.Folder, "model*"))
        {
            File.Copy(file, Path.Combine(older.Path, Path.GetFileName(file)));
        }

        File.Copy(Path.Combine(golden.Folder, "config.v4.json"), Path.Combine(older.Path, "config.json"));
        using Model first = Model.Load(golden.Folder, device), second = Model.Load(older.Path, device);
        using RunResult a = first.Run(golden.Tokens), b = second.Run(golden.Tokens);
        Assert.Equal(a.Logits!.ToArray<float>(), b.Logits!.ToArray<float>());
    }

    /// <summary>Everything that is stored, less the gradients; a name that is not understood is a failure.</summary>
    internal static (Dictionary<string, double> Errors, int Gradients) Compare(GoldenModel golden, Device device)
    {
        using Model model = Model.Load(golden.Folder, device);
        string[] points = [.. golden.Names.Where(name => HookPoint.TryParse(name, out _))];
        using RunResult run = model.Run(golden.Tokens, new RunOptions { Capture = points, Loss = true, Labels = golden.Labels });
        var errors = new Dictionary<string, double>();
        int gradients = 0;
        foreach (string name in golden.Names)
        {
            if (name.StartsWith("grad.", StringComparison.Ordinal))
            {
                gradients++;
                continue;
            }

            switch (name)
            {
                case "input_ids" or "token_type_ids" or "labels" or "padded.input_ids" or "padded.attention_mask":
                    break;
                case "logits":
                    errors[name] = golden.Error(name, run.Logits!.ToArray<float>());
                    break;
                case "loss":
                    errors[name] = golden.Error(name, [(float)run.Loss!.Value]);
                    break;
                case "padded.logits":
                    using (RunResult padded = model.Run(golden.Padded))
                    {
                        errors[name] = golden.Error(name, padded.Logits!.ToArray<float>());
                    }

                    break;
                case "rope.inv_freq" or "rope.inv_freq.global" or "rope.inv_freq.local":
                    RotaryPositions rotary = Assert.IsType<RotaryPositions>(model.Description.Positions);
                    RotaryFrequencies frequencies = name.EndsWith("local", StringComparison.Ordinal) ? rotary.Local! : rotary.Frequencies;
                    errors[name] = golden.Error(name, frequencies.Compute(golden.Tokens.Length));
                    break;
                default:
                    Assert.True(HookPoint.TryParse(name, out HookPoint point), $"{name} is stored but not understood");
                    Assert.Equal(golden.ShapeOf(name), run.Cache[point].Shape);
                    if (point.Kind == HookKind.ExpertIndices)
                    {
                        Assert.Equal(golden.Integers(name), run.Cache[point].ToArray<float>().Select(expert => (int)expert));
                        errors[name] = 0;
                        break;
                    }

                    errors[name] = golden.Error(name, run.Cache[point].ToArray<float>());
                    break;
            }
        }

        return (errors, gradients);
    }
}
