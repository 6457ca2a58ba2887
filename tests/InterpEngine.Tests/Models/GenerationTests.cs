using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>Greedy and sampled generation; greedy tokens against the goldens are in <see cref="GoldenModelTests"/>.</summary>
public sealed class GenerationTests
{
    private static readonly int[][] s_prompts = [[5, 17, 80], [9], [3, 3, 8, 41, 77, 20]];

    public static TheoryData<string> Devices => [.. TestDevices.Names];

    [Theory]
    [MemberData(nameof(Devices))]
    public void Company_changes_nothing_even_when_others_end_first(string deviceName) => With(deviceName, model =>
    {
        foreach (double temperature in (double[])[0, 1.5])
        {
            // The first greedy token of a sequence taken as end-of-text makes it end early.
            var options = new GenerationOptions { MaxTokens = 12, Temperature = temperature, Seed = 9, Alternatives = 3 };
            GeneratedToken?[][] steps = [.. model.Generate(TokenBatch.LeftPadded(s_prompts), options)];
            GeneratedToken?[] alone = [.. model.Generate(TokenBatch.Single(s_prompts[0]), options).Select(step => step[0])];
            Assert.Equal(alone.Select(token => token!.Id), steps.Select(step => step[0]).TakeWhile(token => token is not null).Select(t => t!.Id));
            Assert.Equal(alone.Select(token => token!.LogProbability), steps.Take(alone.Length).Select(step => step[0]!.LogProbability));
        }
    });

    [Theory]
    [MemberData(nameof(Devices))]
    public void A_seed_repeats_and_another_differs(string deviceName) => With(deviceName, model =>
    {
        var options = new GenerationOptions { MaxTokens = 30, Temperature = 2, StopAtEnd = false, Seed = 1 };
        Assert.Equal(Ids(model, options), Ids(model, options));
        Assert.NotEqual(Ids(model, options), Ids(model, options with { Seed = 2 }));
    });

    [Fact]
    public void Narrow_sampling_is_greedy() => With("reference", model =>
    {
        var greedy = new GenerationOptions { MaxTokens = 10, StopAtEnd = false };
        int[] expected = Ids(model, greedy);
        Assert.Equal(expected, Ids(model, greedy with { Temperature = 1, TopK = 1 }));
        Assert.Equal(expected, Ids(model, greedy with { Temperature = 1, TopP = 1e-9 }));
        Assert.Equal(expected, Ids(model, greedy with { Temperature = 1e-6 }));
    });

    /// <summary>Draws follow the distribution: χ² over the four likeliest tokens of a fixed prompt.</summary>
    [Fact]
    public void Samples_follow_the_model_within_top_k() => With("reference", model =>
    {
        const int draws = 2000, k = 4;
        GeneratedToken first = model.Generate(TokenBatch.Single(5), new GenerationOptions { MaxTokens = 1, Alternatives = k }).First()[0]!;
        double[] weights = [.. first.Alternatives.Select(token => Math.Exp(token.LogProbability))];
        TokenBatch prompts = TokenBatch.Rectangle([.. Enumerable.Repeat(5, draws)], draws, 1);
        GeneratedToken?[] step = model.Generate(prompts, new GenerationOptions { MaxTokens = 1, Temperature = 1, TopK = k, Seed = 3 }).First();
        double chi = 0;
        for (int i = 0; i < k; i++)
        {
            double expected = draws * weights[i] / weights.Sum();
            int seen = step.Count(token => token!.Id == first.Alternatives[i].Id);
            chi += (seen - expected) * (seen - expected) / expected;
        }

        Assert.All(step, token => Assert.Contains(token!.Id, first.Alternatives.Select(a => a.Id)));
        Assert.True(chi < 16.3, $"χ² with 3 degrees of freedom is {chi}");
    });

    [Theory]
    [MemberData(nameof(Devices))]
    public void Log_probabilities_are_those_of_a_whole_run(string deviceName) => With(deviceName, model =>
    {
        GeneratedToken[] tokens = [.. model.Generate(
            TokenBatch.Single(s_prompts[0]), new GenerationOptions { MaxTokens = 6, Alternatives = 2, StopAtEnd = false }).Select(s => s[0]!)];
        int[] text = [.. s_prompts[0], .. tokens.Select(token => token.Id)];
        using RunResult run = model.Run(TokenBatch.Single(text), new RunOptions { Loss = true });
        for (int i = 0; i < tokens.Length; i++)
        {
            Assert.Equal(run.NextTokenLogProbabilities![0, s_prompts[0].Length - 1 + i], tokens[i].LogProbability, 1e-4f);
            Assert.Equal(new TokenProbability(tokens[i].Id, tokens[i].LogProbability), tokens[i].Alternatives[0]);
            Assert.True(tokens[i].Alternatives[1].LogProbability <= tokens[i].LogProbability);
        }
    });

    [Fact]
    public void Text_ends_where_the_learned_positions_do() => With("reference", model =>
    {
        int context = model.Description.Context;
        int[] ids = Ids(model, new GenerationOptions { MaxTokens = 10 * context, StopAtEnd = false });
        Assert.Equal(context - s_prompts[0].Length + 1, ids.Length);
    });

    [Fact]
    public void Generation_can_be_cancelled_and_bad_options_are_refused() => With("reference", model =>
    {
        using var source = new CancellationTokenSource();
        IEnumerator<GeneratedToken?[]> steps = model.Generate(TokenBatch.Single(1), cancellation: source.Token).GetEnumerator();
        Assert.True(steps.MoveNext());
        source.Cancel();
        Assert.Throws<OperationCanceledException>(() => steps.MoveNext());
        Assert.Empty(model.Generate(TokenBatch.Single(1), new GenerationOptions { MaxTokens = 0 }));
        Assert.Throws<ModelException>(() => model.Generate(TokenBatch.Single(1), new GenerationOptions { TopP = 0 }));
        Assert.Throws<ModelException>(() => model.Generate(TokenBatch.Single(1), new GenerationOptions { Temperature = double.NaN }));
        Assert.Throws<ModelException>(() => model.Generate(TokenBatch.Single(1), new GenerationOptions { MaxTokens = -1 }));
    });

    private static int[] Ids(Model model, GenerationOptions options) =>
        [.. model.Generate(TokenBatch.Single(s_prompts[0]), options).Select(step => step[0]!.Id)];

    private static void With(string deviceName, Action<Model> test)
    {
        using Device device = TestDevices.Open(deviceName);
        using Model model = Model.Load(Goldens.Folder("models", "gpt2"), device);
        test(model);
    }
}
