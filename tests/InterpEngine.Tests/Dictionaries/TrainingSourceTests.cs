using InterpEngine.Captures;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Dictionaries;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>Rows from a model and from its captures, the order in which they are drawn, and their estimated scales.</summary>
public sealed class TrainingSourceTests
{
    private const string Point = "blocks.2.hook_resid_post", Target = "blocks.3.hook_mlp_out";

    [Theory]
    [InlineData(ElementType.F32, 0)]
    [InlineData(ElementType.BF16, 1.0 / 256)]
    [InlineData(ElementType.F16, 1.0 / 2048)]
    [InlineData(ElementType.I8, 1.0 / 254)]
    public void A_capture_has_the_rows_of_the_model(ElementType type, double error)
    {
        using Device device = Device.Cpu(2);
        using Model model = Model.Load(Model.TalesPath, device);
        using var folder = new TemporaryFolder();
        int[][] texts = [.. TrainingTexts.Endless(model).Take(40)];
        int[] excluded = [0, texts[0][1]];
        Capture(model, texts, folder.Path, type);
        using var direct = new ModelActivations(model, Point, texts, 7, excluded, Target);
        using var stored = new CapturedActivations(folder.Path, Point, excluded, Target, repeats: false);
        Assert.Equal((direct.Width, direct.TargetWidth), (stored.Width, stored.TargetWidth));
        float[] expected = All(direct), found = All(stored);
        Assert.NotEmpty(expected);
        Assert.Equal(expected.Length, found.Length);
        for (int i = 0; i < expected.Length; i += direct.Width)
        {
            // What is lost is a share of the value, or of the row's largest with integers.
            float largest = expected[i..(i + direct.Width)].Max(Math.Abs);
            for (int j = i; j < i + direct.Width; j++)
            {
                double bound = error * (type == ElementType.I8 ? largest * 1.001 : Math.Abs(expected[j]) + 1e-7);
                Assert.True(Math.Abs(expected[j] - found[j]) <= bound, $"{found[j]} is not {expected[j]} within {bound}");
            }
        }

        using var other = new CapturedActivations(folder.Path, Point, excluded, Target);
        other.Seek(3);
        using var again = new CapturedActivations(folder.Path, Point, excluded, Target);
        float[][] Blocks(CapturedActivations from, int count) => [.. Enumerable.Range(0, count).Select(_ => from.Next(default)!.Values)];
        Assert.Equal(Blocks(again, 9)[3..], Blocks(other, 6));
    }

    [Fact]
    public void A_broken_capture_is_refused_by_name()
    {
        using Device device = Device.Cpu(1);
        using Model model = Model.Load(Model.TalesPath, device);
        using var folder = new TemporaryFolder();
        Assert.Throws<InvalidFileException>(() => new CapturedActivations(folder.Path, Point));
        Capture(model, [.. TrainingTexts.Endless(model).Take(3)], folder.Path, ElementType.F32);
        Assert.Contains("hook_z", Assert.Throws<InvalidFileException>(() => new CapturedActivations(folder.Path, "blocks.0.attn.hook_z")).Message, StringComparison.Ordinal);
        string shard = folder[CaptureIndex.ShardName(0)];
        using (SafetensorsFile file = SafetensorsFile.Open(shard))
        {
            using var writer = new SafetensorsWriter(folder["wrong"], file.Tensors.Values.Select(t => new SafetensorsDeclaration(t.Name, t.Type, [.. t.Shape])));
            foreach (SafetensorsEntry tensor in file.Tensors.Values)
            {
                byte[] bytes = tensor.Bytes.ToArray();
                bytes.AsSpan(0, tensor.Name == "positions" ? 8 : 0).Fill(0x7f);
                writer.Write(tensor.Name, bytes);
            }

            writer.Complete();
        }

        File.Move(folder["wrong"], shard, overwrite: true);
        Assert.Throws<InvalidFileException>(() => new CapturedActivations(folder.Path, Point));
    }

    [Fact]
    public void Every_row_is_drawn_once_and_mixed()
    {
        using Device device = Device.Cpu(1);
        using var source = new ShuffledActivations(new Numbers(5000), device, 3, 1000);
        int[] drawn = [.. Draw(source, 50, 100)];
        Assert.Equal(Enumerable.Range(0, 5000), drawn.Order());
        Assert.True(drawn[..1000].Max() > 1500, "rows of the buffer are mixed with those that follow");
        Assert.Throws<DictionaryException>(() => Draw(source, 1, 1).ToArray());
        using var same = new ShuffledActivations(new Numbers(5000), device, 3, 1000, overlaps: false);
        Assert.Equal(drawn, Draw(same, 50, 100));
        using var other = new ShuffledActivations(new Numbers(5000), device, 4, 1000);
        Assert.NotEqual(drawn, Draw(other, 50, 100));
    }

    [Fact]
    public void Scales_are_estimated_as_the_libraries_do()
    {
        using Device device = Device.Cpu(1);
        using var source = new ShuffledActivations(new Numbers(400), device, 1, 50);
        using var same = new ShuffledActivations(new Numbers(400), device, 1, 50);
        // Rows are (i, 0, 0, 0), so that the norm of row i is i.
        int[] norms = [.. Draw(same, 20, 20)];
        Assert.Equal(2 / norms[..200].Average(), NormalizedActivations.EstimateScale(source, 20, 10), 1e-9);
        double square = norms[200..].Average(i => (double)i * i);
        Assert.Equal(1 / Math.Sqrt(square), NormalizedActivations.EstimateRootMeanSquareScale(source, 20, 10), 1e-9);
    }

    [Fact]
    public void A_folded_dictionary_does_to_rows_what_it_learnt_to_do_to_scaled_ones()
    {
        using Device device = Device.Cpu(1);
        using Model model = Model.Load(Model.TalesPath, device);
        float[] data = All(new ModelActivations(model, Point, TrainingTexts.Endless(model).Take(30)));
        var config = new DictionaryConfig { InputWidth = 128, OutputWidth = 128, Features = 96, Rule = ActivationRule.Relu, CentersInput = true };
        foreach (Whitening? whitening in (Whitening?[])[null, Whitening.Estimate(data, 128)])
        {
            ShuffledActivations Rows() => new(new ModelActivations(model, Point, TrainingTexts.Endless(model)), device, 1, 256);
            using IActivationSource plain = Rows();
            using NormalizedActivations scaled = whitening is null ? new(Rows(), 0.25) : new(Rows(), whitening);
            using var trainer = new DictionaryTrainer(config, Initialization.Random(config, 1), new() { LearningRate = new() { Rate = 1e-3 } }, device);
            var training = new DictionaryTraining(scaled, 64, trainer);
            training.Run(5);
            (DictionaryConfig folded, DictionaryParameters parameters) = scaled.Fold(config, trainer.Export());
            using var learnt = new SparseDictionary(config, trainer.Export(), device);
            using var usable = new SparseDictionary(folded, parameters, device);
            plain.Next(5 * 64).Dispose();
            using Tensor before = plain.Next(32), after = ((IActivationSource)scaled).Next(32);
            using Encoding a = usable.Encode(before), b = learnt.Encode(after);
            float[] expected = b.Features.ToDense(), found = a.Features.ToDense();
            double largest = expected.Max();
            Assert.All(Enumerable.Range(0, expected.Length), i => Assert.Equal(expected[i], found[i], 2e-5 * Math.Max(1, largest)));
        }
    }

    private static void Capture(Model model, int[][] texts, string folder, ElementType type)
    {
        CaptureSequence[] sequences = [.. texts.Select((ids, i) => new CaptureSequence(i, ids))];
        var options = new CaptureOptions { Points = HookSelection.Create(Point, Target), Type = type, ShardBytes = 300_000 };
        using FolderCapture capture = FolderCapture.Open(model, sequences, folder, options);
        capture.Run();
    }

    private static float[] All(IRowStream stream)
    {
        var values = new List<float>();
        while (stream.Next(default) is { } block)
        {
            values.AddRange(block.Values);
        }

        return [.. values];
    }

    private static IEnumerable<int> Draw(IActivationSource source, int batches, int count)
    {
        for (int i = 0; i < batches; i++)
        {
            using Tensor rows = source.Next(count);
            foreach (float[] row in rows.ToArray<float>().Chunk(source.Width))
            {
                yield return (int)row[0];
            }
        }
    }

    /// <summary>Rows (i, 0, 0, 0), in blocks of different sizes, empty ones among them.</summary>
    private sealed class Numbers(int count) : IRowStream
    {
        private int _next, _blocks;

        public int Width => 4;

        public int TargetWidth => 0;

        public RowBlock? Next(CancellationToken cancellation)
        {
            int rows = Math.Min(_blocks++ % 7 * 5, count - _next);
            if (_next == count)
            {
                return null;
            }

            var values = new float[rows * 4];
            for (int i = 0; i < rows; i++)
            {
                values[4 * i] = _next++;
            }

            return new RowBlock(rows, values);
        }

        public void Seek(long blocks) => throw new NotSupportedException();

        public void Dispose()
        {
        }
    }
}
