using InterpEngine.Kernels.Cpu;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>Models share their device's threads. Nothing else may start or end threads while they are counted.</summary>
[CollectionDefinition(nameof(SharedDeviceTests), DisableParallelization = true)]
[Collection(nameof(SharedDeviceTests))]
public sealed class SharedDeviceTests
{
    [Fact]
    public void Two_models_that_run_at_once_compute_on_the_threads_of_their_one_device()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && CpuDevice.IsAvailable, "counts the native threads in /proc");
        GC.Collect(); // which may end the threads of devices that other tests left behind
        GC.WaitForPendingFinalizers();
        int before = Workers();
        using (var device = new CpuDevice(threads: 3))
        {
            Assert.Equal(before + 2, Workers());
            using Model gpt2 = Model.Load(Goldens.Folder("models", "gpt2"), device);
            using Model llama = Model.Load(Goldens.Folder("models", "llama"), device);
            Model[] models = [gpt2, llama];
            float[][] alone = [.. models.Select(Logits)];
            Parallel.For(0, 24, new ParallelOptions { MaxDegreeOfParallelism = 6 }, i => Assert.Equal(alone[i % 2], Logits(models[i % 2])));
            Assert.Equal(before + 2, Workers());
        }

        Assert.Equal(before, Workers());
    }

    private static float[] Logits(Model model)
    {
        using RunResult result = model.Run(TokenBatch.Rectangle([.. Enumerable.Range(0, 40)], 2, 20));
        return result.Logits!.ToArray<float>();
    }

    /// <summary>The threads of all CPU devices, by the name that the native library gives them.</summary>
    private static int Workers() => Directory.GetDirectories("/proc/self/task").Count(task => Name(task) == "interp-cpu");

    /// <summary>Null for a thread that has ended.</summary>
    private static string? Name(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm")).Trim();
        }
        catch (IOException)
        {
            return null;
        }
    }
}
