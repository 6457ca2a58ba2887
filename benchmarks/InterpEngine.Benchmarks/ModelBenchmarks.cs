using BenchmarkDotNet.Attributes;
using InterpEngine.Hooks;
using InterpEngine.Models;

namespace InterpEngine.Benchmarks;

/// <summary>A GPT-2-small-shaped model: what looking costs in time and memory, and decoding.</summary>
[Config(typeof(MemoryConfig))]
public class ModelBenchmarks
{
    private RandomCheckpoint? _checkpoint;
    private Model? _model;
    private TokenBatch? _tokens, _prompt;

    [GlobalSetup]
    public void Load()
    {
        _checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);
        _model = Model.Load(_checkpoint.Folder, Machine.Device);
        _tokens = RandomCheckpoint.Tokens(_model.Description.Vocabulary, 8, 128);
        _prompt = RandomCheckpoint.Tokens(_model.Description.Vocabulary, 1, 16);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _model!.Dispose();
        _checkpoint!.Dispose();
    }

    [Benchmark(Baseline = true)]
    public void NoHooks() => Forward(nameof(NoHooks), HookSelection.None);

    [Benchmark]
    public void OneResidual() => Forward(nameof(OneResidual), "blocks.6.hook_resid_post");

    [Benchmark]
    public void AllResiduals() => Forward(nameof(AllResiduals), "blocks.*.hook_resid_post");

    [Benchmark]
    public void EveryUnflaggedPoint() => Forward(nameof(EveryUnflaggedPoint), Unflagged(_model!));

    [Benchmark]
    public void NoHooksLogits() => Forward(nameof(NoHooksLogits), HookSelection.None, LogitsWanted.All);

    [Benchmark]
    public void Decode32() => Measure(nameof(Decode32), () =>
    {
        foreach (GeneratedToken?[] _ in _model!.Generate(_prompt!, new GenerationOptions { MaxTokens = 32, StopAtEnd = false }))
        {
        }
    });

    internal static HookSelection Unflagged(Model model) =>
        HookSelection.FromPoints([.. model.Points.Points.Where(point => !point.Kind.Info().Flagged)]);

    private void Forward(string name, HookSelection points, LogitsWanted logits = LogitsWanted.None) => Measure(name, () =>
    {
        using RunResult run = _model!.Run(_tokens!, new RunOptions { Capture = points, Logits = logits });
    });

    private static void Measure(string name, Action action)
    {
        Machine.Device.Arena.ResetPeak();
        action();
        MemoryConfig.Peaks[name] = Machine.Device.Arena.PeakBytes;
    }
}
