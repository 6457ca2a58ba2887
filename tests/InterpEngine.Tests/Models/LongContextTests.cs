using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>Long texts: memory that grows with the text and not with its square, and runs that end when they are told to.</summary>
public sealed class LongContextTests
{
    private static readonly Dictionary<string, object> s_settings = new()
    {
        ["model_type"] = "llama",
        ["hidden_size"] = 16,
        ["num_attention_heads"] = 2,
        ["num_key_value_heads"] = 1,
        ["num_hidden_layers"] = 3,
        ["intermediate_size"] = 16,
        ["vocab_size"] = 16,
        ["max_position_embeddings"] = 8192,
    };

    [Fact]
    public void Memory_grows_linearly_with_the_text() => With(model =>
    {
        long[] peaks = [.. from length in (int[])[1024, 2048, 4096] select Peak(model, length)];
        const long pattern = 4096L * 4096 * 2 * sizeof(float);
        Assert.InRange(peaks[1], 1, 2.1 * peaks[0]);
        Assert.InRange(peaks[2], 1, 2.1 * peaks[1]);
        Assert.InRange(peaks[2], 1, pattern / 16);
    });

    [Fact]
    public void A_cancellation_ends_the_run_before_the_next_block() => With(model =>
    {
        foreach (int layer in (int[])[0, 1, 2])
        {
            using var source = new CancellationTokenSource();
            var seen = new List<string>();
            var options = new RunOptions
            {
                Hooks =
                [
                    new Hook("*.hook_resid_pre", (point, _) => Visit(point)), new Hook("*.hook_attn_out", (point, _) => Visit(point)),
                    new Hook("ln_final.hook_normalized", (point, _) => Visit(point)),
                ],
            };
            Assert.Throws<OperationCanceledException>(() => model.Run(TokenBatch.Single(new int[300]), options, source.Token));
            Assert.Equal(2 * layer + 2, seen.Count);
            Assert.Equal($"blocks.{layer}.hook_attn_out", seen[^1]);

            Tensor? Visit(HookPoint point)
            {
                seen.Add(point.Name);
                if (point.Name == $"blocks.{layer}.hook_resid_pre")
                {
                    source.Cancel();
                }

                return null;
            }
        }
    });

    private static long Peak(Model model, int length)
    {
        using RunResult run = model.Run(TokenBatch.Single(new int[length]), new RunOptions { Logits = LogitsWanted.None });
        return run.PeakBytes;
    }

    private static void With(Action<Model> test)
    {
        using var folder = new TemporaryFolder();
        RandomModel.Write(folder.Path, s_settings, seed: 1);
        using Device device = TestDevices.Open(TestDevices.Names.Last());
        using Model model = Model.Load(folder.Path, device);
        test(model);
    }
}
