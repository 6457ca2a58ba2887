using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>What no golden run shows: resampling, BF16 products, rows that are normalised one by one.</summary>
public sealed class TrainingRuleTests
{
    private static DictionaryConfig Config(int d, int features, ActivationRule rule) =>
        new() { InputWidth = d, OutputWidth = d, Features = features, Rule = rule, CentersInput = true };

    [Theory]
    [InlineData(ResamplingRule.DictionaryLearning)]
    [InlineData(ResamplingRule.Anthropic)]
    public void Dead_features_get_directions_of_rows(ResamplingRule rule)
    {
        const int d = 6, features = 20, n = 9;
        using Device device = Device.Cpu(1);
        DictionaryConfig config = Config(d, features, new(ActivationKind.TopK, 2));
        DictionaryParameters start = Initialization.Random(config, 1, 1);
        for (int f = 0; f < features; f += 2)
        {
            start.EncoderBias[f] = -100; // dead
        }

        using var trainer = new DictionaryTrainer(config, start, new() { DeadCount = DeadCount.StepsBefore, LearningRate = new() { Rate = 1e-3 } }, device);
        float[] rows = Random(n * d, 2);
        using Tensor x = device.Upload<float>(rows, n, d);
        var resampling = new Resampling { Rule = rule, DeadWindow = 3 };
        for (int step = 0; step < 3; step++)
        {
            trainer.Step(x);
        }

        Assert.Equal(0, trainer.Resample(x, resampling));
        trainer.Step(x);
        DictionaryParameters before = trainer.Export();
        int[] dead = [.. Enumerable.Range(0, features).Where(f => trainer.SinceActive[f] > 3)];
        Assert.True(dead.Length > n, "more are dead than there are rows");
        Assert.Equal(n, trainer.Resample(x, resampling));
        DictionaryParameters after = trainer.Export();
        double living = Enumerable.Range(0, features).Except(dead).Average(f => Norm(before.Encoder, f, d));
        var taken = new HashSet<int>();
        foreach (int f in dead[..n])
        {
            int row = Enumerable.Range(0, n).Single(r => Cosine(rows, r, after.Decoder, f, d) > 1 - 1e-6);
            Assert.True(taken.Add(row), "no row is taken twice");
            Assert.Equal(1, Norm(after.Decoder, f, d), 1e-5);
            Assert.True(Cosine(rows, row, after.Encoder, f, d) > 1 - 1e-6);
            double expected = 0.2 * living * (rule == ResamplingRule.Anthropic ? 1 : Norm(rows, row, d));
            Assert.Equal(expected, Norm(after.Encoder, f, d), 1e-5 * expected);
            Assert.Equal(0, after.EncoderBias[f]);
            Assert.All(trainer.Trained.Where(m => m.Rows == features), m => Assert.True(
                m.First.Slice(f * m.Columns, m.Columns).IndexOfAnyExcept(0f) < 0 && m.Second.Slice(f * m.Columns, m.Columns).IndexOfAnyExcept(0f) < 0));
        }

        foreach (int f in Enumerable.Range(0, features).Except(dead[..n]))
        {
            Assert.Equal(before.Encoder.AsSpan(f * d, d), after.Encoder.AsSpan(f * d, d));
            Assert.Equal(before.Decoder.AsSpan(f * d, d), after.Decoder.AsSpan(f * d, d));
        }
    }

    [Fact]
    public void Rows_are_drawn_as_likely_as_they_are_bad()
    {
        var random = new SeededRandom(5);
        int[] first = new int[3];
        for (int i = 0; i < 40_000; i++)
        {
            int[] rows = DictionaryTrainer.Draw(random, [1f, 0f, 9f], 0.5, 3);
            Assert.Equal(2, rows.Length); // a perfect row is never drawn
            first[rows[0]]++;
        }

        // ‖e‖ is 1 and 3: a quarter of the draws, whose share has a deviation of 0.0022.
        Assert.Equal(0.25, first[0] / 40_000.0, 0.009);
    }

    /// <summary>
    /// Rows and directions are rounded to BF16 for the encoder's product, and nothing else is. So a step on parameters and rows that are BF16
    /// already is that of fp32; and pre-activations differ from fp32's by at most (2u + u²)·Σ|x·w|, u = 2⁻⁸ the unit roundoff of BF16.
    /// </summary>
    [Fact]
    public void Bf16_rounds_the_product_and_nothing_else()
    {
        const int d = 40, features = 96, n = 24;
        const double u = 1.0 / 256, ours = 40 * 6e-8;
        using Device device = Device.Cpu(2);
        DictionaryConfig config = Config(d, features, ActivationRule.Relu) with { CentersInput = false };
        DictionaryParameters start = Initialization.Random(config, 1, 1);
        float[] rows = Random(n * d, 2);
        StepTrace single = Trace(rows, false, out _), half = Trace(rows, true, out _);
        float[] Values(StepTrace trace) => trace.Gradients["encoder bias"];
        Assert.NotEqual(Values(single), Values(half));

        // The bound for each pre-activation, seen through the product itself.
        using Tensor x = device.Upload<float>(rows, n, d), directions = device.Upload<float>(start.Encoder, features, d);
        foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16])
        {
            using Tensor pre = device.Allocate(ElementType.F32, n, features);
            using SparseRows all = SparseRows.Allocate(device, n, features, n * features);
            device.Run(new SparseEncode { X = x, Directions = directions, DirectionsType = type, Pre = pre, Selection = Selection.Threshold, Out = all });
            float[] h = pre.ToArray<float>();
            for (int i = 0; i < h.Length; i++)
            {
                double exact = 0, magnitude = 0;
                for (int k = 0; k < d; k++)
                {
                    double product = (double)rows[i / features * d + k] * start.Encoder[i % features * d + k];
                    (exact, magnitude) = (exact + product, magnitude + Math.Abs(product));
                }

                double bound = (type == ElementType.BF16 ? 2 * u + u * u : 0) * magnitude + ours * magnitude;
                Assert.True(Math.Abs(h[i] - exact) <= bound, $"{type}: {h[i]} is not {exact} within {bound}");
            }
        }

        // On numbers that BF16 has, both steps are the same but for the order of sums.
        Round(rows);
        Round(start.Encoder);
        Round(start.Decoder);
        single = Trace(rows, false, out StepReport expected);
        half = Trace(rows, true, out StepReport found);
        Assert.Equal(expected.Loss, found.Loss, 1e-6 * expected.Loss);
        foreach ((string name, float[] gradient) in single.Gradients)
        {
            double largest = gradient.Max(Math.Abs);
            Assert.All(Enumerable.Range(0, gradient.Length), i => Assert.Equal(gradient[i], half.Gradients[name][i], 2e-6 * Math.Max(1, largest)));
        }

        StepTrace Trace(float[] values, bool bf16, out StepReport report)
        {
            using Tensor batch = device.Upload<float>(values, n, d);
            using var trainer = new DictionaryTrainer(config, start, new() { BFloat16 = bf16 }, device);
            trainer.Trace = new StepTrace();
            report = trainer.Step(batch);
            return trainer.Trace;
        }
    }

    /// <summary>Where each row is normalised, the gradients are the derivatives of the loss that is reported, in the scale of the input.</summary>
    [Theory]
    [InlineData(InputNormalization.LayerNorm)]
    [InlineData(InputNormalization.ConstantNorm)]
    public void Normalised_rows_are_differentiated(InputNormalization normalization)
    {
        const int d = 10, features = 24, n = 16;
        using Device device = Device.Cpu(1);
        DictionaryConfig config = Config(d, features, ActivationRule.Relu) with { Normalization = normalization };
        DictionaryParameters start = Initialization.Random(config, 1, 1);
        float[] rows = [.. Random(n * d, 2).Select((value, i) => value * (1 + i / d) + 0.5f)];
        using Tensor x = device.Upload<float>(rows, n, d);
        StepReport at = Step(0, out Dictionary<string, float[]> gradients);
        using (var dictionary = new SparseDictionary(config, start, device))
        using (Tensor reconstruction = dictionary.Reconstruct(x))
        {
            float[] found = reconstruction.ToArray<float>();
            double loss = Enumerable.Range(0, rows.Length).Sum(i => Math.Pow(rows[i] - (double)found[i], 2)) / n;
            Assert.Equal(loss, at.Reconstruction, 1e-5 * loss);
        }

        const double h = 2e-4;
        double slope = (Step(h, out _).Loss - Step(-h, out _).Loss) / (2 * h);
        double along = gradients.Sum(gradient => Direction(gradient.Key, gradient.Value.Length).Zip(gradient.Value, (v, g) => (double)v * g).Sum());
        Assert.Equal(along, slope, 0.01 * Math.Max(1, Math.Abs(slope)));

        StepReport Step(double along, out Dictionary<string, float[]> found)
        {
            float[] Moved(string name, float[] values) => [.. values.Zip(Direction(name, values.Length), (v, w) => (float)(v + along * w))];
            var moved = new DictionaryParameters
            {
                Encoder = Moved("encoder", start.Encoder),
                Decoder = Moved("decoder", start.Decoder),
                EncoderBias = Moved("encoder bias", start.EncoderBias),
                DecoderBias = Moved("decoder bias", start.DecoderBias),
            };
            using var trainer = new DictionaryTrainer(config, moved, new(), device);
            trainer.Trace = new StepTrace();
            StepReport report = trainer.Step(x);
            found = trainer.Trace.Gradients;
            return report;
        }

        static float[] Direction(string name, int length) => Random(length, name.Length);
    }

    private static void Round(float[] values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(values[i]) & 0xffff0000);
        }
    }

    private static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static double Dot(float[] a, int i, float[] b, int j, int d) => Enumerable.Range(0, d).Sum(k => (double)a[i * d + k] * b[j * d + k]);

    private static double Norm(float[] a, int i, int d) => Math.Sqrt(Dot(a, i, a, i, d));

    private static double Cosine(float[] a, int i, float[] b, int j, int d) => Dot(a, i, b, j, d) / Norm(a, i, d) / Norm(b, j, d);
}
