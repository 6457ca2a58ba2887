using System.Text.Json;
using InterpEngine.Formats;
using Xunit;

namespace InterpEngine.Tests;

/// <summary>One folder of goldens with golden.safetensors and golden.json, which remembers what was compared.</summary>
internal sealed class GoldenCase : IDisposable
{
    private readonly SafetensorsFile _file;
    private readonly JsonDocument _json;
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);

    public GoldenCase(params string[] folder)
    {
        Folder = Goldens.Folder(folder);
        _file = SafetensorsFile.Open(Path.Combine(Folder, "golden.safetensors"));
        _json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "golden.json")));
    }

    public string Folder { get; }

    public JsonElement Json => _json.RootElement;

    public JsonElement Options => Json.GetProperty("options");

    public IEnumerable<string> Names => _file.Tensors.Keys;

    public bool Has(string name) => _file.Tensors.ContainsKey(name);

    /// <summary>An input; it counts as compared.</summary>
    public float[] Input(string name)
    {
        _seen.Add(name);
        return _file.Tensors[name].ToSingles();
    }

    public int[] Shape(string name) => [.. _file.Tensors[name].Shape.Select(axis => (int)axis)];

    public int[] Integers(string name)
    {
        _seen.Add(name);
        return [.. _file.Tensors[name].ToIntegers().Select(value => (int)value)];
    }

    /// <summary>Compares, if it is stored, within a share of the tensor's largest value (of 1, if that is larger).</summary>
    public void Compare(string name, Func<IReadOnlyList<float>> values, double tolerance = 4e-6)
    {
        if (Has(name))
        {
            Compare(name, values(), tolerance);
        }
    }

    public void Compare(string name, IReadOnlyList<float> values, double tolerance = 4e-6)
    {
        float[] truth = _file.Tensors[name].ElementType is Kernels.ElementType.I32 or Kernels.ElementType.U8
            ? Array.ConvertAll(Integers(name), value => (float)value)
            : Input(name);
        Assert.True(truth.Length == values.Count, $"{name}: {values.Count} values; expected {truth.Length}");
        double bound = tolerance * Math.Max(1, truth.Length == 0 ? 0 : truth.Max(Math.Abs));
        for (int i = 0; i < truth.Length; i++)
        {
            Assert.True(Math.Abs((double)truth[i] - values[i]) <= bound, $"{name}[{i}] is {values[i]}; expected {truth[i]} within {bound:G3}");
        }
    }

    /// <summary>Fails where a stored tensor was not compared.</summary>
    public void AssertAllSeen() => Assert.Empty(Names.Except(_seen, StringComparer.Ordinal));

    public void Dispose()
    {
        _file.Dispose();
        _json.Dispose();
    }
}
