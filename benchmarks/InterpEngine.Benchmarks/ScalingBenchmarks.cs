using BenchmarkDotNet.Attributes;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Benchmarks;

/// <summary>One thread against two: the ratio is ½ where the cores share the work perfectly.</summary>
public class ThreadBenchmarks
{
    private readonly List<Device> _devices = [];
    private readonly List<Model> _models = [];
    private RandomCheckpoint? _checkpoint;
    private TokenBatch? _tokens;

    [GlobalSetup]
    public void Load()
    {
        _checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);
        for (int threads = 1; threads <= 2; threads++)
        {
            _devices.Add(Device.Cpu(threads));
            _models.Add(Model.Load(_checkpoint.Folder, _devices[^1]));
        }

        _tokens = RandomCheckpoint.Tokens(_models[0].Description.Vocabulary, 8, 128);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _models.ForEach(model => model.Dispose());
        _devices.ForEach(device => device.Dispose());
        _checkpoint!.Dispose();
    }

    [Benchmark(Baseline = true)]
    public void OneThread() => Forward(_models[0]);

    [Benchmark]
    public void TwoThreads() => Forward(_models[1]);

    private void Forward(Model model) => model.Run(_tokens!, new RunOptions { Logits = LogitsWanted.None }).Dispose();
}

/// <summary>The daily case: the model that comes along on 16 tokens, every point kept, with two threads.</summary>
public class TalesBenchmarks
{
    private readonly Device _device = Device.Cpu(threads: 2);
    private Model? _model;
    private TokenBatch? _tokens;

    [GlobalSetup]
    public void Load()
    {
        _model = Model.Load(Model.TalesPath, _device);
        _tokens = RandomCheckpoint.Tokens(_model.Description.Vocabulary, 1, 16);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _model!.Dispose();
        _device.Dispose();
    }

    [Benchmark(Baseline = true)]
    public void Logits() => _model!.Run(_tokens!).Dispose();

    [Benchmark]
    public void EveryPointAndLogits() => _model!.Run(_tokens!, new RunOptions { Capture = ModelBenchmarks.Unflagged(_model) }).Dispose();
}

/// <summary>Time and memory of a Llama shape as the context grows: memory is to grow linearly.</summary>
[Config(typeof(MemoryConfig))]
public class ContextBenchmarks
{
    private RandomCheckpoint? _checkpoint;
    private Model? _model;
    private TokenBatch? _tokens;

    [Params(1024, 2048, 4096, 8192)]
    public int Context { get; set; }

    [GlobalSetup]
    public void Load()
    {
        _checkpoint = new RandomCheckpoint(new Dictionary<string, object>(RandomCheckpoint.LlamaShaped)
        {
            ["hidden_size"] = 512,
            ["head_dim"] = 64,
            ["num_attention_heads"] = 8,
            ["num_key_value_heads"] = 2,
            ["intermediate_size"] = 1408,
            ["num_hidden_layers"] = 2,
            ["max_position_embeddings"] = 8192,
        });
        _model = Model.Load(_checkpoint.Folder, Machine.Device);
        _tokens = RandomCheckpoint.Tokens(_model.Description.Vocabulary, 1, Context);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _model!.Dispose();
        _checkpoint!.Dispose();
    }

    [Benchmark]
    public void Loss()
    {
        using RunResult run = _model!.Run(_tokens!, new RunOptions { Logits = LogitsWanted.None, Loss = true });
        MemoryConfig.Peaks[$"{nameof(Loss)} {Context}"] = run.PeakBytes;
    }
}
