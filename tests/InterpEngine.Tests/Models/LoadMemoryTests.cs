using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>Promise 5: weights once. Nothing else may run while the process's memory is measured.</summary>
[CollectionDefinition(nameof(LoadMemoryTests), DisableParallelization = true)]
[Collection(nameof(LoadMemoryTests))]
public sealed class LoadMemoryTests(ITestOutputHelper output)
{
    /// <summary>A fused, a transposed and a tied layout; the largest tensor is most of the model in the last.</summary>
    public static TheoryData<string, int, int, int, WeightProcessing> Models => new()
    {
        { "gpt2", 768, 6, 2000, WeightProcessing.None },
        { "gpt_neox", 768, 6, 2000, WeightProcessing.None },
        { "llama", 512, 1, 90000, WeightProcessing.None },
        { "gpt2", 768, 6, 2000, AllSteps },
        { "llama", 512, 1, 90000, WeightProcessing.FoldLayerNorm | WeightProcessing.CenterUnembed },
    };

    private const WeightProcessing AllSteps = WeightProcessing.FoldLayerNorm | WeightProcessing.CenterWritingWeights
        | WeightProcessing.CenterUnembed | WeightProcessing.FoldValueBiases;

    [Theory]
    [MemberData(nameof(Models))]
    public void Peak_memory_at_load_is_at_most_a_tenth_above_the_weights(
        string family, int width, int layers, int vocabulary, WeightProcessing processing)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && CpuDevice.IsAvailable, "measures /proc/self/status, and the native kernels' packing");
        using var folder = new TemporaryFolder();
        RandomModel.Write(folder.Path, Settings(family, width, layers, vocabulary), seed: 1);
        using Device device = Device.Cpu();
        using (Model.Load(Goldens.Folder("models", "gpt2"), device))
        {
            // The first load compiles the loader and starts the threads.
        }

        GC.Collect();
        device.Arena.Trim();
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = Status("VmRSS");
        using Model model = Model.Load(folder.Path, device, new LoadOptions { Processing = processing });
        long peak = Status("VmHWM") - before;
        double ratio = (double)peak / model.WeightBytes;
        output.WriteLine($"{family} {processing}: {model.WeightBytes >> 20} MiB of weights, peak {peak >> 20} MiB: {ratio:F3} x");
        Assert.True(ratio <= 1.1, $"loading {model.WeightBytes >> 20} MiB of weights took {peak >> 20} MiB");
    }

    private static Dictionary<string, object> Settings(string family, int width, int layers, int vocabulary) => family == "gpt2"
        ? new()
        {
            ["model_type"] = family,
            ["n_embd"] = width,
            ["n_head"] = 12,
            ["n_layer"] = layers,
            ["vocab_size"] = vocabulary,
            ["n_positions"] = 1024,
        }
        : new()
        {
            ["model_type"] = family,
            ["hidden_size"] = width,
            ["num_attention_heads"] = width / 64,
            ["num_hidden_layers"] = layers,
            ["intermediate_size"] = 4 * width,
            ["vocab_size"] = vocabulary,
            ["max_position_embeddings"] = 1024,
            ["tie_word_embeddings"] = family == "llama",
        };

    /// <summary>A line of /proc/self/status, in bytes.</summary>
    private static long Status(string name)
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(name + ":", StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture);
    }
}
