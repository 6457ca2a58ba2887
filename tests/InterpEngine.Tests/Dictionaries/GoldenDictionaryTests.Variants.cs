using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>What single libraries have beside activations and reconstruction.</summary>
public sealed partial class GoldenDictionaryTests
{
    /// <summary>Activations under other rules, selected ones, and scaled ones.</summary>
    private static void CompareScores(GoldenCase golden, SparseDictionary dictionary, Tensor x)
    {
        DictionaryConfig config = dictionary.Config;
        DictionaryParameters p = dictionary.Parameters;
        int features = config.Features;
        float[] scale = p.ScoreScale ?? Enumerable.Repeat(1f, features).ToArray();
        float[] Scaled(float[] acts) => [.. acts.Select((v, i) => v * scale[i % features])];
        golden.Compare("code_normalization", () => scale);
        using Encoding encoding = dictionary.Encode(x);
        float[] acts = encoding.Features.ToDense();
        golden.Compare("scaled_acts", () => Scaled(acts));
        bool autoEncoderNew = golden.Folder.Contains("autoencodernew", StringComparison.Ordinal);
        float[] norms = p.DecoderNorms();
        golden.Compare("features", () => autoEncoderNew ? [.. acts.Select((v, i) => v * norms[i % features])] : acts);
        golden.Compare("relu_acts", () => Dense(dictionary, x, ActivationRule.Relu));
        golden.Compare("relu_scaled_acts", () => Scaled(Dense(dictionary, x, ActivationRule.Relu)));
        golden.Compare("threshold_acts", () => Dense(dictionary, x, ActivationRule.JumpRelu));
        if (golden.Has("batch_acts"))
        {
            using Encoding batch = dictionary.Encode(x, new(ActivationKind.BatchTopK, golden.Options.GetProperty("k").GetDouble()));
            golden.Compare("batch_acts", batch.Features.ToDense());
            golden.Compare("batch_scaled_acts", () => Scaled(batch.Features.ToDense()));
            golden.Compare("batch_reconstruction", Values(dictionary.Decode(batch)));
        }

        if (golden.Has("top_indices"))
        {
            CompareTop(golden, acts, features, "top_indices", golden.Has("top_values") ? "top_values" : "top_acts");
        }

        int d = config.InputWidth;
        float[] input = golden.Input("x");
        if (golden.Has("normed_x"))
        {
            CompareNormalization(golden, input, d);
        }

        golden.Compare("normalized_x", () => [.. input.Select((v, i) => p.InputMean is null ? v : (v - p.InputMean[i % d]) * p.InputScale![i % d])]);
        if (golden.Has("normalized.bias"))
        {
            // What its library does at loading: unit columns.
            (_, DictionaryParameters folded) = DictionaryFolding.FoldDecoderNorms(config, p);
            golden.Compare("normalized.bias", folded.DecoderBias);
            golden.Compare("normalized.encoder.weight", folded.Encoder);
            golden.Compare("normalized.encoder.bias", folded.EncoderBias);
            golden.Compare("normalized.decoder.weight", Turn(folded.Decoder, features, d));
        }
    }

    private static void CompareNormalization(GoldenCase golden, float[] input, int d)
    {
        int n = input.Length / d;
        float[] means = [.. Enumerable.Range(0, n).Select(i => (float)input.AsSpan(i * d, d).ToArray().Average(v => (double)v))];
        float[] deviations =
            [.. Enumerable.Range(0, n).Select(i => (float)Math.Sqrt(input.AsSpan(i * d, d).ToArray().Sum(v => Math.Pow(v - means[i], 2)) / (d - 1)))];
        golden.Compare("mean", means);
        golden.Compare("std", deviations);
        golden.Compare("normed_x", [.. input.Select((v, i) => (v - means[i / d]) / (deviations[i / d] + 1e-5f))]);
    }

    private static void CompareTop(GoldenCase golden, float[] acts, int features, string indicesName, string valuesName)
    {
        int[] indices = golden.Integers(indicesName);
        int k = golden.Shape(indicesName)[1];
        golden.Compare(valuesName, [.. indices.Select((f, i) => acts[i / k * features + f])]);
        for (int row = 0; row < acts.Length / features; row++)
        {
            float[] all = acts.AsSpan(row * features, features).ToArray();
            int[] mine = [.. Enumerable.Range(0, features).Where(f => all[f] != 0)];
            Assert.Empty(mine.Except(indices.AsSpan(row * k, k).ToArray()));
        }
    }

    private static void CompareFolded(
        GoldenCase golden, DictionaryConfig config, DictionaryParameters parameters, Device device, Tensor x)
    {
        if (!golden.Names.Any(name => name.StartsWith("folded", StringComparison.Ordinal)))
        {
            return;
        }

        DictionaryConfig c = config;
        DictionaryParameters p = parameters;
        int features = config.Features, d = config.InputWidth;
        float[] factor = [.. Enumerable.Repeat(1f, features)];
        if (golden.Has("whitening.mean"))
        {
            float[] data = golden.Input("whitening.data");
            float[] mean = golden.Input("whitening.mean"), matrix = golden.Input("whitening.matrix"), inverse = golden.Input("whitening.inverse_matrix");
            Whitening own = Whitening.Estimate(data, d);
            golden.Compare("whitening.mean", own.Mean);
            golden.Compare("whitening.mean", mean);
            AssertClose(Square(matrix, d), Square(own.Matrix, d));
            AssertClose(Square(inverse, d, columns: true), Square(own.Inverse, d, columns: true));
            (c, p) = DictionaryFolding.FoldWhitening(config, parameters, mean, matrix, inverse);
        }
        else if (config.Normalization == InputNormalization.ExpectedAverage)
        {
            (c, p) = DictionaryFolding.FoldActivationScale(config, parameters, (float)golden.Options.GetProperty("scaling_factor").GetDouble());
        }
        else if (!golden.Has("native_acts"))
        {
            (c, p) = DictionaryFolding.FoldDecoderNorms(config, parameters);
            factor = config.ScalesByDecoderNorm ? factor : parameters.DecoderNorms();
        }

        golden.Compare("folded.W_enc", Turn(p.Encoder, features, d));
        golden.Compare("folded.W_dec", p.Decoder);
        golden.Compare("folded.b_dec", p.DecoderBias);
        golden.Compare("folded.b_enc", () => p.EncoderBias);
        golden.Compare("folded.b_mag", () => p.EncoderBias);
        golden.Compare("folded.b_gate", () => p.GateBias!);
        golden.Compare("folded.r_mag", () => p.MagnitudeScale!);
        golden.Compare("folded.threshold", () => p.Threshold!);
        using var folded = new SparseDictionary(c, p, device);
        using Encoding encoding = folded.Encode(x, pre: true);
        golden.Compare("folded_acts", () => encoding.Features.ToDense());
        golden.Compare("folded_pre_acts", () => encoding.Pre!.ToArray<float>());
        golden.Compare("folded_reconstruction", () => Values(folded.Decode(encoding)));
        using var original = new SparseDictionary(config, parameters, device);
        if (golden.Has("folded_acts") && !golden.Has("whitening.mean") && config.Normalization == InputNormalization.None)
        {
            golden.Compare("folded_acts", [.. Dense(original, x, config.Rule).Select((v, i) => v * factor[i % features])]);
        }
    }

    /// <summary>M·Mᵀ, or Mᵀ·M: what does not depend on the signs of eigenvectors.</summary>
    private static float[] Square(float[] m, int d, bool columns = false) =>
        [.. from i in Enumerable.Range(0, d)
            from j in Enumerable.Range(0, d)
            select Enumerable.Range(0, d).Sum(k => columns ? m[k * d + i] * m[k * d + j] : m[i * d + k] * m[j * d + k])];

    private static void AssertClose(float[] expected, float[] actual)
    {
        double bound = 2e-5 * expected.Max(Math.Abs);
        Assert.All(expected.Zip(actual), pair => Assert.InRange(pair.Second - pair.First, -bound, bound));
    }

    private static float[] Dense(SparseDictionary dictionary, Tensor x, ActivationRule rule)
    {
        using Encoding encoding = dictionary.Encode(x, rule);
        return encoding.Features.ToDense();
    }

    private static float[] Turn(float[] matrix, int rows, int columns) =>
        [.. from c in Enumerable.Range(0, columns) from r in Enumerable.Range(0, rows) select matrix[r * columns + c]];
}
