using System.Text.Json.Nodes;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>A TopK dictionary: encoding rows, and a step of training.</summary>
internal static class DictionaryMeasurements
{
    private const int Rows = 2048, Width = 768, Features = 16384, K = 32;

    public static IEnumerable<Measurement> All(Device device, ElementType type)
    {
        string kind = type.ToString().ToLowerInvariant(), shape = $"{Rows}x{Width}, {Features} features, k {K}";
        JsonObject Torch(string what) => new()
        {
            ["kind"] = what,
            ["rows"] = Rows,
            ["width"] = Width,
            ["features"] = Features,
            ["k"] = K,
            ["type"] = type == ElementType.BF16 ? "bfloat16" : "float32",
        };
        yield return new Measurement($"topk encode {kind} {shape}", Torch("topk_encode"), 2.0 * Rows * Width * Features, 0, owner =>
        {
            Tensor x = owner.Own(RandomData.Tensor(device, Rows, Width));
            Weight encoder = owner.Own(RandomData.Weight(device, Width, Features, type: type));
            SparseRows result = owner.Own(SparseRows.Allocate(device, Rows, Features, Rows * K));
            return () => device.Run(new SparseEncode { X = x, W = encoder, Selection = Selection.TopK, K = K, Out = result });
        });
        yield return new Measurement($"topk step {kind} {shape}", Torch("topk_step"), 0, 0, owner =>
        {
            var config = new DictionaryConfig
            {
                InputWidth = Width,
                OutputWidth = Width,
                Features = Features,
                Rule = new(ActivationKind.TopK, K),
                CentersInput = true,
            };
            var options = new TrainingOptions { ClipNorm = 1, BFloat16 = type == ElementType.BF16 };
            DictionaryTrainer trainer = owner.Own(new DictionaryTrainer(config, Initialization.Random(config, 1), options, device));
            Tensor x = owner.Own(RandomData.Tensor(device, Rows, Width));
            return () => trainer.Step(x);
        });
    }
}
