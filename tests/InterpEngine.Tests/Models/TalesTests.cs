using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>The embedded model against its own goldens, on every backend.</summary>
public sealed class TalesTests(ITestOutputHelper output)
{
    public static TheoryData<string> Devices => [.. TestDevices.Names];

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_stored_tensor_and_answer(string deviceName)
    {
        using var golden = SafetensorsFile.Open(Goldens.Folder("tales", "golden.safetensors"));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("tales", "golden.json")));
        using Device device = TestDevices.Open(deviceName);
        using Model model = Model.Load(Model.TalesPath, device);
        int compared = 0, number = 0;
        double worst = 0;
        foreach (JsonElement prompt in json.RootElement.GetProperty("cases").EnumerateArray())
        {
            string prefix = $"{number++}.";
            TokenBatch tokens = model.Tokenize(prompt.GetProperty("prompt").GetString()!);
            Assert.Equal(golden.Tensors[prefix + "input_ids"].ToIntegers(), tokens.Ids.ToArray().Select(id => (long)id));
            using RunResult run = model.Run(tokens, new RunOptions { Capture = HookSelection.All });
            foreach (string name in golden.Tensors.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                if (name.EndsWith("input_ids", StringComparison.Ordinal))
                {
                    continue;
                }

                string point = name[prefix.Length..];
                Tensor value = point == "logits" ? run.Logits! : run.Cache[point];
                double reference = json.RootElement.GetProperty("tensors").GetProperty(name).GetProperty("hf_fp32").GetDouble();
                double error = Error(golden.Tensors[name].ToSingles(), value.ToArray<float>(), reference);
                Assert.True(error <= 2, $"{name} is off by {error:F2} of the bound");
                worst = Math.Max(worst, error);
                compared++;
            }

            AssertTop(model, tokens, prompt.GetProperty("top"));
        }

        Assert.Equal(golden.Tensors.Count, compared + number);
        output.WriteLine($"{compared} tensors compared on {device.Name}, worst {worst:F2} of the bound");
    }

    private static double Error(float[] truth, float[] values, double reference)
    {
        Assert.Equal(truth.Length, values.Length);
        double worst = 0, largest = 0;
        for (int i = 0; i < truth.Length; i++)
        {
            worst = Math.Max(worst, Math.Abs((double)truth[i] - values[i]));
            largest = Math.Max(largest, Math.Abs(truth[i]));
        }

        return worst / (2 * reference + Math.ScaleB(largest, -21));
    }

    private static void AssertTop(Model model, TokenBatch tokens, JsonElement expected)
    {
        var options = new GenerationOptions { MaxTokens = 1, Alternatives = expected.GetArrayLength() };
        GeneratedToken next = model.Generate(tokens, options).First()[0]!;
        Assert.Equal(
            expected.EnumerateArray().Select(entry => entry[0].GetString()),
            next.Alternatives.Select(token => model.Tokenizer.Decode([token.Id])));
        foreach ((JsonElement entry, TokenProbability token) in expected.EnumerateArray().Zip(next.Alternatives))
        {
            Assert.Equal(entry[1].GetDouble(), Math.Exp(token.LogProbability), 2e-6);
        }
    }
}
