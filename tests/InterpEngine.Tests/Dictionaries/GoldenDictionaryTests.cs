using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Every dictionary of the goldens, on every backend: each stored tensor is computed and compared.</summary>
public sealed partial class GoldenDictionaryTests
{
    public static IEnumerable<TheoryDataRow<string, string>> CasesAndDevices() =>
        from name in Goldens.Cases("sae")
        from device in TestDevices.Names
        select new TheoryDataRow<string, string>(name, device) { TestDisplayName = $"{name} / {device}" };

    [Fact]
    public void There_are_cases() => Assert.NotEmpty(Goldens.Cases("sae"));

    [Theory]
    [MemberData(nameof(CasesAndDevices))]
    public void Every_tensor_is_the_true_one(string name, string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        using var golden = new GoldenCase("sae", name);
        if (File.Exists(Path.Combine(golden.Folder, "config.yaml")))
        {
            CompareSet(golden, device);
        }
        else if (Directory.Exists(Path.Combine(golden.Folder, "training")))
        {
            CompareTrained(golden, device);
        }
        else
        {
            CompareOne(golden, device);
        }

        golden.AssertAllSeen();
    }

    private static void CompareTrained(GoldenCase golden, Device device)
    {
        foreach (string form in (string[])["training", "inference"])
        {
            using SparseDictionary dictionary = SparseDictionary.Load(Path.Combine(golden.Folder, form), device);
            using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
            Compare(golden, dictionary, x, $"{form}.");
            using Encoding encoding = dictionary.Encode(x);
            foreach (string width in golden.Names.Where(name => name.StartsWith($"{form}.reconstruction_width_", StringComparison.Ordinal)))
            {
                int features = int.Parse(width.Split('_')[^1], System.Globalization.CultureInfo.InvariantCulture);
                Assert.Contains(features, dictionary.Config.Levels);
                using Encoding part = encoding.With((_, f, value) => f < features ? value : 0);
                golden.Compare(width, Values(dictionary.Decode(part)));
            }
        }
    }

    private static void CompareOne(GoldenCase golden, Device device)
    {
        if (DictionaryFile.ReadLayers(golden.Folder) is { Count: > 1 } layers)
        {
            CompareDecoupled(golden, device, layers);
            return;
        }

        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryFile.Read(golden.Folder);
        using var dictionary = new SparseDictionary(config, parameters, device);
        using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
        Compare(golden, dictionary, x, "");
        CompareScores(golden, dictionary, x);
        CompareFolded(golden, config, parameters, device, x);
        CompareMetrics(golden, dictionary, x);
        if (golden.Has("native_acts"))
        {
            (DictionaryConfig native, DictionaryParameters nativeParameters) = ScopeFormats.ReadLlama(golden.Folder, native: true);
            using var authors = new SparseDictionary(native, nativeParameters, device);
            using Encoding encoding = authors.Encode(x, pre: true);
            golden.Compare("native_acts", encoding.Features.ToDense());
            golden.Compare("native_pre_acts", encoding.Pre!.ToArray<float>());
            golden.Compare("native_reconstruction", Values(authors.Decode(encoding)));
        }
    }

    /// <summary>What every library has: pre-activations, activations, reconstruction.</summary>
    private static void Compare(GoldenCase golden, SparseDictionary dictionary, Tensor x, string prefix)
    {
        using Encoding encoding = dictionary.Encode(x, pre: dictionary.Config.Rule.Kind != ActivationKind.MatchingPursuit);
        float[] acts = encoding.Features.ToDense();
        golden.Compare(prefix + "acts", acts);
        golden.Compare(prefix + "reconstruction", Values(dictionary.Decode(encoding)));
        DictionaryParameters p = dictionary.Parameters;
        int features = dictionary.Config.Features;
        bool gated = dictionary.Config.Rule.Kind == ActivationKind.Gated;
        bool sparsify = File.Exists(Path.Combine(golden.Folder, "sae.safetensors"));
        float[] pre = encoding.Pre?.ToArray<float>() ?? [];
        golden.Compare(prefix + "gate_pre_acts", () => [.. pre.Select((v, i) => v + p.GateBias![i % features])]);
        golden.Compare(prefix + "gate_relu", () => [.. pre.Select((v, i) => Math.Max(0, v + p.GateBias![i % features]))]);
        golden.Compare(prefix + "pre_acts", () => gated
            ? [.. pre.Select((v, i) => v * MathF.Exp(p.MagnitudeScale![i % features]) + p.EncoderBias[i % features])]
            : sparsify ? [.. pre.Select(v => Math.Max(0, v))] : pre);
        golden.Compare(prefix + "relu_acts", () => [.. pre.Select(v => Math.Max(0, v))]);
    }

    private static float[] Values(Tensor tensor)
    {
        using (tensor)
        {
            return tensor.ToArray<float>();
        }
    }
}
