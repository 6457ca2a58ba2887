using System.Text.Json;
using System.Text.Json.Nodes;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>Whole models with random weights: forward, looking at every residual, and generation.</summary>
internal sealed class ModelMeasurements(
    string name, IReadOnlyDictionary<string, object> settings, int batch, int length) : IDisposable
{
    private const int NewTokens = 64;

    private readonly Lazy<RandomCheckpoint> _made = new(() => new RandomCheckpoint(settings, SafetensorsType.BF16));

    public static IEnumerable<ModelMeasurements> All()
    {
        yield return new("gpt2-small", RandomCheckpoint.Gpt2Small, 8, 512);
        yield return new("llama-1b", Llama1B, 4, 1024);
    }

    /// <summary>The shape of Llama 3.2 1B.</summary>
    private static Dictionary<string, object> Llama1B => new()
    {
        ["model_type"] = "llama",
        ["hidden_size"] = 2048,
        ["num_attention_heads"] = 32,
        ["num_key_value_heads"] = 8,
        ["num_hidden_layers"] = 16,
        ["intermediate_size"] = 8192,
        ["vocab_size"] = 128256,
        ["max_position_embeddings"] = 4096,
        ["tie_word_embeddings"] = true,
    };

    public IEnumerable<Measurement> On(Device device, ElementType weights)
    {
        JsonObject Torch(string kind) => new()
        {
            ["kind"] = kind,
            ["config"] = new JsonObject(
                settings.Select(entry => KeyValuePair.Create(entry.Key, JsonValue.Create(entry.Value) as JsonNode))),
            ["batch"] = batch,
            ["length"] = length,
            ["new_tokens"] = NewTokens,
            ["type"] = weights == ElementType.BF16 ? "bfloat16" : "float32",
        };
        string kind = weights.ToString().ToLowerInvariant();
        string forward = $"{name} {kind} forward {batch}x{length}", generate = $"{name} {kind} generate {NewTokens}";
        yield return new Measurement(
            forward, Torch("forward"), 0, 0, owner => Forward(owner, device, weights, HookSelection.None));
        yield return new Measurement(
            $"{forward}, all residuals", null, 0, 0, owner => Forward(owner, device, weights, "blocks.*.hook_resid_post"));
        yield return new Measurement(generate, Torch("generate"), 0, (double)NewTokens * WeightElements() * weights.Size(), owner =>
        {
            Model model = Load(owner, device, weights);
            TokenBatch prompt = RandomCheckpoint.Tokens(model.Description.Vocabulary, 1, 16);
            var options = new GenerationOptions { MaxTokens = NewTokens, StopAtEnd = false };
            return () =>
            {
                foreach (GeneratedToken?[] _ in model.Generate(prompt, options))
                {
                }
            };
        });
    }

    private RandomCheckpoint Checkpoint => _made.Value;

    public void Dispose()
    {
        if (_made.IsValueCreated)
        {
            Checkpoint.Dispose();
        }
    }

    /// <summary>Elements that one token of a generation reads at least.</summary>
    private long WeightElements()
    {
        ModelDescription description =
            ModelFamilies.Read(ConfigFile.Parse(JsonSerializer.SerializeToUtf8Bytes(settings), "config.json"));
        return CheckpointSchema.Required(description, description.Layout.Prefixes[0]).Values
            .Sum(shape => shape.Aggregate(1L, (product, axis) => product * axis));
    }

    private Action Forward(Owner owner, Device device, ElementType weights, HookSelection points)
    {
        Model model = Load(owner, device, weights);
        TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, batch, length);
        return () =>
        {
            using RunResult run = model.Run(tokens, new RunOptions { Capture = points, Logits = LogitsWanted.Last });
        };
    }

    private Model Load(Owner owner, Device device, ElementType weights) =>
        owner.Own(Model.Load(Checkpoint.Folder, device, new LoadOptions { WeightType = weights }));
}
