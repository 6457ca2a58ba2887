using InterpEngine.Circuits;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Circuits;

public sealed class LogitLensTests
{
    private static readonly int[] s_prompt = [0, 5, 17, 9, 23, 4];

    [Fact]
    public void At_the_last_layer_it_is_the_softmax_of_the_logits()
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Model.TalesPath, device);
        var last = new HookPoint(HookKind.ResidPost, model.Description.Layers - 1);
        using RunResult run = model.Run(TokenBatch.Single(s_prompt), new RunOptions { Capture = last });
        LensReading reading = LogitLens.Read(model, run.Cache[last], top: 3, 7, 300);
        float[] logits = run.Logits!.ToArray<float>();
        int vocabulary = model.Description.Vocabulary;
        for (int row = 0; row < s_prompt.Length; row++)
        {
            double[] exponentials = [.. logits.AsSpan(row * vocabulary, vocabulary).ToArray().Select(logit => Math.Exp(logit))];
            double sum = exponentials.Sum();
            int best = Array.IndexOf(exponentials, exponentials.Max());
            Assert.Equal(best, reading.Top[row, 0]);
            Assert.Equal(exponentials[best] / sum, reading.TopProbabilities[row, 0], 1e-5);
            Assert.True(reading.TopProbabilities[row, 0] >= reading.TopProbabilities[row, 1]);
            Assert.True(reading.TopProbabilities[row, 1] >= reading.TopProbabilities[row, 2]);
            Assert.Equal(exponentials[7] / sum, reading.Probabilities[row, 0], 1e-5);
            Assert.Equal(exponentials[300] / sum, reading.Probabilities[row, 1], 1e-5);
        }
    }

    [Fact]
    public void It_reads_more_rows_than_it_holds_logits_at_once()
    {
        using Device device = Device.Cpu();
        using Model model = Model.Load(Model.TalesPath, device);
        const int rows = (1 << 24) / 1024 + 3;
        var point = new HookPoint(HookKind.ResidPre, 1);
        var options = new RunOptions { Capture = point, Logits = LogitsWanted.None };
        using RunResult run = model.Run(TokenBatch.Single(s_prompt), options);
        float[] one = run.Cache[point].ToArray<float>()[^model.Description.Width..];
        using Tensor many = device.Upload<float>([.. Enumerable.Repeat(one, rows).SelectMany(row => row)], rows, one.Length);
        LensReading expected = LogitLens.Read(model, run.Cache[point], top: 1), reading = LogitLens.Read(model, many, top: 1);
        Assert.Equal(rows, reading.Top.GetLength(0));
        foreach (int row in (int[])[0, rows - 4, rows - 3, rows - 1])
        {
            Assert.Equal(expected.Top[s_prompt.Length - 1, 0], reading.Top[row, 0]);
            Assert.Equal(expected.TopProbabilities[s_prompt.Length - 1, 0], reading.TopProbabilities[row, 0]);
        }
    }

    [Fact]
    public void It_refuses_what_is_no_residual_stream_and_tokens_that_are_none()
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Model.TalesPath, device);
        using Tensor narrow = device.Upload<float>([1, 2, 3], 1, 3), fitting = device.Upload<float>(new float[128], 1, 128);
        var shape = Assert.Throws<ModelException>(() => LogitLens.Read(model, narrow, 1));
        Assert.Contains("[.., 128]", shape.Message, StringComparison.Ordinal);
        Assert.Throws<ModelException>(() => LogitLens.Read(model, fitting, 0));
        Assert.Throws<ModelException>(() => LogitLens.Read(model, fitting, 1025));
        var token = Assert.Throws<ModelException>(() => LogitLens.Read(model, fitting, 1, 1024));
        Assert.Contains("1024", token.Message, StringComparison.Ordinal);
    }
}
