using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>What is read off the logits without keeping them is what the whole logits say, to the bit.</summary>
public sealed class PredictionTests
{
    public static TheoryData<string> Devices => [.. TestDevices.Names];

    [Theory]
    [MemberData(nameof(Devices))]
    public void They_are_those_of_the_whole_logits(string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        foreach (IReadOnlyDictionary<string, object> settings in RandomFamilies.All(11))
        {
            using var folder = new TemporaryFolder();
            RandomModel.Write(folder.Path, settings, 11);
            using Model model = Model.Load(folder.Path, device);
            int vocabulary = model.Description.Vocabulary;
            int[] tokens = [vocabulary - 1, 0, vocabulary / 2];
            TokenBatch batch = TokenBatch.LeftPadded([[0, 1, 1], [1], [1, 0, 0, 1, 0, 1, 1]]);
            var wanted = new PredictionOptions { Top = Math.Min(4, vocabulary), Tokens = tokens };
            foreach (LogitsWanted logits in Enum.GetValues<LogitsWanted>())
            {
                foreach (bool loss in (bool[])[false, true])
                {
                    foreach (bool last in (bool[])[false, true])
                    {
                        var options = new RunOptions
                        {
                            Logits = logits,
                            Loss = loss,
                            Labels = loss && !model.Description.Causal ? new int[batch.Ids.Length] : null,
                            Predictions = wanted with { LastOnly = last },
                        };
                        using RunResult run = model.Run(batch, options);
                        Judge(model, batch, options.Predictions, run.Predictions!);
                        Assert.Equal(loss, run.Loss is not null);
                    }
                }
            }
        }
    }

    [Fact]
    public void Memory_does_not_hold_all_logits()
    {
        using Device device = TestDevices.Open(TestDevices.Names.Last());
        var settings = new Dictionary<string, object>(RandomFamilies.All(3)[0]) { ["vocab_size"] = 50_000, ["n_positions"] = 2048 };
        using var folder = new TemporaryFolder();
        RandomModel.Write(folder.Path, settings, seed: 1);
        using Model model = Model.Load(folder.Path, device);
        (int batch, int length) = (1, 1500);
        var options = new RunOptions { Logits = LogitsWanted.None, Loss = true, Predictions = new PredictionOptions { Top = 3, Tokens = [7] } };
        using RunResult run = model.Run(TokenBatch.Rectangle(new int[batch * length], batch, length), options);
        using RunResult blind = model.Run(TokenBatch.Rectangle(new int[batch * length], batch, length), new RunOptions { Logits = LogitsWanted.None });
        long whole = (long)batch * length * 50_000 * sizeof(float);
        Assert.True(whole > 250 << 20);
        Assert.InRange(run.PeakBytes, 1, blind.PeakBytes + (80 << 20));
    }

    [Fact]
    public void What_cannot_be_predicted_is_refused()
    {
        using Device device = Device.Cpu(threads: 1);
        using Model model = Model.Load(Model.TalesPath, device);
        int vocabulary = model.Description.Vocabulary;
        foreach (PredictionOptions wrong in (PredictionOptions[])
            [new() { Top = -1 }, new() { Top = vocabulary + 1 }, new() { Tokens = [vocabulary] }, new() { Tokens = [-1] }])
        {
            Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(1, 2), new RunOptions { Predictions = wrong }));
        }

        var options = new RunOptions { Predictions = new PredictionOptions { Top = 1 }, StopAtLayer = 1 };
        Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(1, 2), options));
    }

    private static void Judge(Model model, TokenBatch batch, PredictionOptions wanted, Predictions predictions)
    {
        using RunResult run = model.Run(batch, new RunOptions { Logits = wanted.LastOnly ? LogitsWanted.Last : LogitsWanted.All });
        Tensor logits = run.Logits!;
        int rows = (int)logits.Shape.Rows, positions = logits.Shape[1], vocabulary = model.Description.Vocabulary;
        using Tensor logs = model.Device.Allocate(ElementType.F32, logits.Shape);
        model.Device.Run(new LogSoftmax { X = logits, Out = logs });
        float[] values = logits.ToArray<float>(), log = logs.ToArray<float>();
        Assert.Equal((batch.Batch, positions), (predictions.Top.GetLength(0), predictions.Top.GetLength(1)));
        for (int row = 0; row < rows; row++)
        {
            (int b, int p) = Math.DivRem(row, positions);
            bool real = wanted.LastOnly || (p >= batch.Spans[b].First && p < batch.Spans[b].End);
            int[] order = [.. Enumerable.Range(0, vocabulary).OrderByDescending(i => values[row * vocabulary + i]).Take(wanted.Top)];
            for (int i = 0; i < wanted.Top; i++)
            {
                Assert.Equal(real ? order[i] : -1, predictions.Top[b, p, i]);
                Assert.Equal(real ? values[row * vocabulary + order[i]] : float.NaN, predictions.TopLogits[b, p, i]);
                Assert.Equal(real ? log[row * vocabulary + order[i]] : float.NaN, predictions.TopLogProbabilities[b, p, i]);
            }

            for (int i = 0; i < wanted.Tokens.Count; i++)
            {
                int at = row * vocabulary + wanted.Tokens[i];
                Assert.Equal(real ? values[at] : float.NaN, predictions.Logits[b, p, i]);
                Assert.Equal(real ? log[at] : float.NaN, predictions.LogProbabilities[b, p, i]);
            }
        }
    }
}
