using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Dictionaries of several layers, and losses that libraries compute beside the reconstruction.</summary>
public sealed partial class GoldenDictionaryTests
{
    private static void CompareDecoupled(
        GoldenCase golden, Device device, IReadOnlyList<(DictionaryConfig Config, DictionaryParameters Parameters)> layers)
    {
        using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
        golden.Compare("normalized_x", golden.Input("x"));
        int features = layers[0].Config.Features;
        double k = golden.Options.GetProperty("k").GetDouble();
        golden.Compare("code_normalization", [.. layers.SelectMany(layer => layer.Parameters.ScoreScale!)]);
        foreach ((string prefix, ActivationRule? rule) in ((string, ActivationRule?)[])[("", null), ("batch_", new(ActivationKind.BatchTopK, k))])
        {
            var acts = new List<float[]>();
            var outputs = new List<float[]>();
            foreach ((DictionaryConfig config, DictionaryParameters parameters) in layers)
            {
                using var dictionary = new SparseDictionary(config, parameters, device);
                using Encoding encoding = dictionary.Encode(x, rule);
                acts.Add(encoding.Features.ToDense());
                outputs.Add(Values(dictionary.Decode(encoding)));
                float[] relu = Dense(dictionary, x, ActivationRule.Relu);
                golden.Compare("relu_acts", relu);
                golden.Compare("relu_scaled_acts", [.. relu.Select((v, i) => v * layers.Sum(layer => layer.Parameters.ScoreScale![i % features]))]);
            }

            float[] all = Interleave(acts, features);
            golden.Compare(prefix + "acts", all);
            golden.Compare(prefix + "scaled_acts", [.. all.Select((v, i) => v * layers[i / features % layers.Count].Parameters.ScoreScale![i % features])]);
            golden.Compare(prefix + "reconstruction", Interleave(outputs, layers[0].Config.OutputWidth));
        }
    }

    /// <summary>[layers][n · width] as [n, layers, width].</summary>
    private static float[] Interleave(List<float[]> layers, int width) =>
        [.. from row in Enumerable.Range(0, layers[0].Length / width)
            from layer in layers
            from value in layer.AsSpan(row * width, width).ToArray()
            select value];

    private static void CompareSet(GoldenCase golden, Device device)
    {
        using TranscoderSet set = TranscoderSet.Open(golden.Folder, device);
        using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
        int positions = golden.Shape("x")[1], features = set.Features, d = set.Width;
        golden.Compare("reconstruction", Values(set.Reconstruct(x)));
        golden.Compare("attribution.reconstruction", Values(set.Reconstruct(x, (_, row, _, value) => row == 0 ? 0 : value)));
        List<float> acts = [], pre = [], values = [], encoders = [], decoders = [];
        List<(int Layer, int Position, int Feature)> active = [];
        List<(int Layer, int Position, int Source)> written = [];
        for (int layer = 0; layer < set.Layers; layer++)
        {
            using SparseDictionary dictionary = set.Load(layer);
            using Tensor rows = x.Slice(layer, 1);
            using Encoding encoding = dictionary.Encode(rows.Reshape(positions, d), pre: true);
            float[] dense = encoding.Features.ToDense();
            acts.AddRange(dense);
            pre.AddRange(encoding.Pre!.ToArray<float>());
            int first = active.Count;
            active.AddRange(from i in Enumerable.Range(features, dense.Length - features) where dense[i] != 0 select (layer, i / features, i % features));
            int[] mine = [.. active.Skip(first).Select(entry => entry.Feature)];
            values.AddRange(active.Skip(first).Select(entry => dense[entry.Position * features + entry.Feature]));
            encoders.AddRange(set.EncoderRows(layer, mine));
            float[] directions = set.DecoderRows(layer, mine);
            int targets = set.Targets(layer);
            foreach (int i in Enumerable.Range(0, mine.Length * targets))
            {
                decoders.AddRange(directions.AsSpan(i * d, d).ToArray().Select(v => v * values[first + i / targets]));
                written.Add((layer + i % targets, active[first + i / targets].Position, first + i / targets));
            }
        }

        golden.Compare("acts", acts);
        golden.Compare("pre_acts", pre);
        golden.Compare("attribution.values", values);
        golden.Compare("attribution.encoder_vecs", encoders);
        Assert.Equal([.. active.Select(a => a.Layer), .. active.Select(a => a.Position), .. active.Select(a => a.Feature)], golden.Integers("attribution.indices"));
        Assert.Equal([.. written.Select(w => w.Layer), .. written.Select(w => w.Position)], golden.Integers("attribution.decoder_locations"));
        Assert.Equal(written.Select(w => w.Source), golden.Integers("attribution.encoder_to_decoder_map"));
        golden.Compare("attribution.decoder_vecs", decoders);
    }

    /// <summary>sparsify's losses, and OpenAI's.</summary>
    private static void CompareMetrics(GoldenCase golden, SparseDictionary dictionary, Tensor x)
    {
        DictionaryConfig config = dictionary.Config;
        int d = config.OutputWidth, features = config.Features;
        float[] input = golden.Input("x"), target = golden.Has("y") ? golden.Input("y") : input;
        float[] output = Values(dictionary.Reconstruct(x));
        int n = target.Length / d;
        float[] error = [.. target.Zip(output, (t, o) => t - o)];
        double variance = SumOfSquares(Centred(target, d));
        golden.Compare("normalized_mse", () => [(float)Enumerable.Range(0, n).Average(i =>
            SumOfSquares(error.AsSpan(i * d, d).ToArray()) / SumOfSquares(input.AsSpan(i * d, d).ToArray()))]);
        float[] acts = Dense(dictionary, x, config.Rule);
        golden.Compare("normalized_l1", () => [(float)Enumerable.Range(0, n).Average(i =>
            acts.AsSpan(i * features, features).ToArray().Sum(v => Math.Abs((double)v)) / Math.Sqrt(SumOfSquares(input.AsSpan(i * d, d).ToArray())))]);
        if (!golden.Has("fvu"))
        {
            return;
        }

        golden.Compare("fvu", [(float)(SumOfSquares(error) / variance)]);
        bool[] dead = [.. golden.Integers("dead_mask").Select(bit => bit != 0)];
        int count = dead.Count(bit => bit), most = Math.Min(d / 2, count);
        double auxiliary = 0;
        if (count > 0)
        {
            using Encoding revived = dictionary.Encode(x, new(ActivationKind.TopK, most), dead);
            float[] estimate = Undo(dictionary, revived, d);
            auxiliary = Math.Min((double)count / (d / 2), 1) * SumOfSquares([.. estimate.Zip(error, (a, e) => a - e)]) / variance;
        }

        golden.Compare("auxk_loss", [(float)auxiliary], 1e-5);
        double multi = 0;
        if (golden.Has("multi.top_indices"))
        {
            using Encoding wide = dictionary.Encode(x, new(ActivationKind.TopK, 4 * config.Rule.K));
            CompareTop(golden, wide.Features.ToDense(), features, "multi.top_indices", "multi.top_acts");
            float[] reconstruction = Values(dictionary.Decode(wide));
            golden.Compare("multi.reconstruction", reconstruction);
            multi = SumOfSquares([.. reconstruction.Zip(target, (a, t) => a - t)]) / variance;
        }

        golden.Compare("multi_topk_fvu", [(float)multi]);
    }

    /// <summary>The features' part of a reconstruction: without bias and skip connection.</summary>
    private static float[] Undo(SparseDictionary dictionary, Encoding encoding, int d)
    {
        using Encoding none = encoding.With((_, _, _) => 0);
        float[] rest = Values(dictionary.Decode(none));
        return [.. Values(dictionary.Decode(encoding)).Zip(rest, (all, r) => all - r)];
    }

    private static float[] Centred(float[] rows, int d)
    {
        double[] means = [.. Enumerable.Range(0, d).Select(i => Enumerable.Range(0, rows.Length / d).Average(r => (double)rows[r * d + i]))];
        return [.. rows.Select((v, i) => (float)(v - means[i % d]))];
    }

    private static double SumOfSquares(float[] values) => values.Sum(v => (double)v * v);
}
