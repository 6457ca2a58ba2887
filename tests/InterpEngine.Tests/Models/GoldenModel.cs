using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>One folder of goldens/models: a tiny checkpoint and what it computes, in float64.</summary>
internal sealed class GoldenModel : IDisposable
{
    private readonly SafetensorsFile _tensors;
    private readonly JsonDocument _json;

    public GoldenModel(string name)
    {
        Folder = Goldens.Folder("models", name);
        _tensors = SafetensorsFile.Open(Path.Combine(Folder, "golden.safetensors"));
        _json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "golden.json")));
    }

    public string Folder { get; }

    public IEnumerable<string> Names => _tensors.Tensors.Keys;

    public string ModelType => _json.RootElement.GetProperty("model_type").GetString()!;

    public TokenBatch Tokens => _tensors.Tensors.TryGetValue("token_type_ids", out SafetensorsEntry? types)
        ? Batch("input_ids", null).WithTypes([.. types.ToIntegers().Select(type => (int)type)])
        : Batch("input_ids", null);

    /// <summary>What an encoder ought to predict; null where it is the next token.</summary>
    public int[]? Labels => _tensors.Tensors.TryGetValue("labels", out SafetensorsEntry? labels)
        ? [.. labels.ToIntegers().Select(label => (int)label)]
        : null;

    /// <summary>Whether it generates text.</summary>
    public bool Generates => _json.RootElement.TryGetProperty("generation", out _);

    public int[] Integers(string name) => [.. _tensors.Tensors[name].ToIntegers().Select(value => (int)value)];

    public TokenBatch Padded => Batch("padded.input_ids", "padded.attention_mask");

    public int[] Prompt => Ints("prompt");

    public int[] Greedy => Ints("greedy");

    /// <summary>How far Hugging Face's own bfloat16 run is from the true logits: largest error, and relative Frobenius norm.</summary>
    public (double Largest, double Frobenius) BFloat16Error
    {
        get
        {
            JsonElement error = _json.RootElement.GetProperty("hf_bfloat16_logits");
            return (error.GetProperty("max_abs").GetDouble(), error.GetProperty("rel_frobenius").GetDouble());
        }
    }

    public float[] Truth(string name) => _tensors.Tensors[name].ToSingles();

    public Shape ShapeOf(string name) => new([.. _tensors.Tensors[name].Shape.Select(axis => (int)axis)]);

    /// <summary>max|x − truth| over the rule's bound: at most 1 is within, at most 2 is tolerated for single tensors.</summary>
    public double Error(string name, ReadOnlySpan<float> values)
    {
        float[] truth = Truth(name);
        Assert.Equal(truth.Length, values.Length);
        double worst = 0, largest = 0;
        for (int i = 0; i < truth.Length; i++)
        {
            if (float.IsNegativeInfinity(truth[i]) || float.IsNegativeInfinity(values[i]))
            {
                Assert.True(truth[i] == values[i], $"{name}[{i}] is {values[i]}, the truth is {truth[i]}");
                continue;
            }

            Assert.False(float.IsNaN(values[i]), $"{name}[{i}] is NaN");
            worst = Math.Max(worst, Math.Abs((double)values[i] - truth[i]));
            largest = Math.Max(largest, Math.Abs(truth[i]));
        }

        double[] reference = HuggingFaceError(name);
        double bound = 2 * Math.Max(reference[0], reference[2]) + Math.ScaleB(largest, -21);
        return worst == 0 ? 0 : worst / bound;
    }

    public void Dispose()
    {
        _tensors.Dispose();
        _json.Dispose();
    }

    /// <summary>[max abs, relative Frobenius, max abs reversed]; constants have none.</summary>
    private double[] HuggingFaceError(string name) =>
        _json.RootElement.GetProperty("tensors").TryGetProperty(name, out JsonElement entry) && entry.TryGetProperty("hf_fp32", out JsonElement error)
            ? [.. error.EnumerateArray().Select(value => value.GetDouble())]
            : [0, 0, 0];

    private int[] Ints(string name) =>
        [.. _json.RootElement.GetProperty("generation").GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    private TokenBatch Batch(string ids, string? mask)
    {
        SafetensorsEntry entry = _tensors.Tensors[ids];
        int[] values = [.. entry.ToIntegers().Select(id => (int)id)];
        bool[] real = mask is null
            ? [.. values.Select(_ => true)]
            : [.. _tensors.Tensors[mask].ToIntegers().Select(bit => bit != 0)];
        return TokenBatch.Masked(values, (int)entry.Shape[0], (int)entry.Shape[1], real);
    }
}
