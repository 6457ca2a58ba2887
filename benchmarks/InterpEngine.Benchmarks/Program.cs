using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using InterpEngine.Benchmarks;

if (args is ["dictionary-quality", .. var rest])
{
    await DictionaryQuality.Run(rest).ConfigureAwait(false);
    return;
}

// In this process: the peaks are measured in it too, and a new process for each case would pack hundreds of megabytes again.
Job job = Job.Default
    .WithToolchain(new InProcessEmitToolchain(TimeSpan.FromMinutes(10), logOutput: true))
    .WithWarmupCount(2)
    .WithIterationCount(8)
    .WithMinIterationTime(Perfolizer.Horology.TimeInterval.FromMilliseconds(100));
ManualConfig config = ManualConfig.Create(DefaultConfig.Instance).AddJob(job).HideColumns("Case");
BenchmarkSwitcher.FromAssembly(typeof(OpBenchmarks).Assembly).Run(args.Length == 0 ? ["--filter", "*"] : args, config);
