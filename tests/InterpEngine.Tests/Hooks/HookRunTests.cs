using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Hooks;

/// <summary>What captures and callbacks do to a run, on every backend.</summary>
public sealed class HookRunTests
{
    private static readonly TokenBatch s_tokens = TokenBatch.Rectangle([5, 17, 80, 3, 9, 44, 12, 12, 70, 6], 2, 5);

    public static TheoryData<string, string> ModelsAndDevices()
    {
        var data = new TheoryData<string, string>();
        foreach (string device in TestDevices.Names)
        {
            foreach (string model in (string[])["gpt2", "gpt_neox", "llama-gqa"])
            {
                data.Add(model, device);
            }
        }

        return data;
    }

    public static TheoryData<string> AllModels => [.. Goldens.Cases("models")];

    /// <summary>Where replacing the value at a point did nothing, the hook would be silently wrong.</summary>
    [Theory]
    [MemberData(nameof(AllModels))]
    public void Replacing_the_value_at_any_point_changes_the_logits(string name) => With(name, TestDevices.Names.Last(), model =>
    {
        float[] untouched = Logits(model, null);
        foreach (HookPoint point in model.Points.Points)
        {
            // A key's bias shifts all scores of a query alike, so the change must differ from key to key.
            Func<float, int, float> change = point.Kind == HookKind.ExpertIndices
                ? (x, _) => (x + 1) % model.Description.Experts!.Count
                : (x, i) => x * (1 + 0.3f * (i % 7)) + 0.1f * (i % 3);
            float[] changed = Logits(model, new Hook(point, (_, value) => Map(value, change)));
            Assert.False(untouched.AsSpan().SequenceEqual(changed), $"{point} changes nothing");
        }
    });

    /// <summary>An expert's output that is zeroed is an expert whose weight is zero, to the bit.</summary>
    [Theory]
    [MemberData(nameof(AllModels))]
    public void Experts_can_be_switched_off_and_exchanged(string name) => With(name, TestDevices.Names.Last(), model =>
    {
        int layer = Array.FindIndex([.. Enumerable.Range(0, model.Description.Layers)], model.Description.IsMixture);
        if (layer < 0)
        {
            Assert.NotNull(model.Points.WhyAbsent(HookKind.ExpertOut));
            return;
        }

        int k = model.Description.Experts!.PerToken, width = model.Description.Width;
        var outputs = new Hook(new HookPoint(HookKind.ExpertOut, layer), (_, value) => Map(value, (x, i) => i / width % k == 0 ? 0 : x));
        var weights = new Hook(new HookPoint(HookKind.ExpertWeights, layer), (_, value) => Map(value, (x, i) => i % k == 0 ? 0 : x));
        Assert.Equal(Logits(model, outputs), Logits(model, weights));
        var wrong = new Hook(new HookPoint(HookKind.ExpertIndices, layer), (_, value) => Map(value, (x, _) => x + 0.5f));
        HookException refused = Assert.Throws<HookException>(() => Logits(model, wrong));
        Assert.Contains("chose expert", refused.Message, StringComparison.Ordinal);
    });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void A_change_is_seen_downstream_and_not_upstream(string name, string deviceName) => With(name, deviceName, model =>
    {
        using RunResult before = model.Run(s_tokens, new RunOptions { Capture = HookSelection.All });
        foreach (HookKind kind in (HookKind[])[HookKind.ResidPre, HookKind.Z, HookKind.AttnOut, HookKind.MlpPost, HookKind.MlpOut])
        {
            var point = new HookPoint(kind, 1);
            var hook = new Hook(point, (_, value) => Map(value, (x, _) => 2 * x));
            using RunResult after = model.Run(s_tokens, new RunOptions { Capture = HookSelection.All, Hooks = [hook] });
            foreach (HookPoint other in model.Points.Points.Where(other => other < point))
            {
                Assert.Equal(before.Cache[other].ToArray<float>(), after.Cache[other].ToArray<float>());
            }

            Assert.Equal(before.Cache[point].ToArray<float>().Select(x => 2 * x), after.Cache[point].ToArray<float>());
            var last = new HookPoint(HookKind.LnFinalNormalized);
            Assert.NotEqual(before.Cache[last].ToArray<float>(), after.Cache[last].ToArray<float>());
        }
    });

    /// <summary>Putting another run's residual stream in place gives that run's end, to the bit.</summary>
    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void A_patched_residual_stream_gives_the_other_run(string name, string deviceName) => With(name, deviceName, model =>
    {
        TokenBatch other = TokenBatch.Rectangle([8, 8, 1, 60, 33, 2, 90, 41, 7, 30], 2, 5);
        using RunResult donor = model.Run(other, new RunOptions { Capture = "blocks.1.hook_resid_pre" });
        Tensor residual = donor.Cache["blocks.1.hook_resid_pre"];
        float[] expected = donor.Logits!.ToArray<float>();
        Assert.Equal(expected, Logits(model, new Hook("blocks.1.hook_resid_pre", (_, _) => residual.Share())));
        using RunResult started = model.Run(s_tokens, new RunOptions { StartAtLayer = 1, Residual = residual });
        Assert.Equal(expected, started.Logits!.ToArray<float>());
        using RunResult stopped = model.Run(other, new RunOptions { StopAtLayer = 1 });
        Assert.Equal(residual.ToArray<float>(), stopped.Residual!.ToArray<float>());
        Assert.Null(stopped.Logits);
        using RunResult negative = model.Run(other, new RunOptions { StopAtLayer = 1 - model.Description.Layers });
        Assert.Equal(stopped.Residual!.ToArray<float>(), negative.Residual!.ToArray<float>());
    });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void One_heads_input_changes_that_head_alone(string name, string deviceName) => With(name, deviceName, model =>
    {
        int width = model.Description.Width, heads = model.Description.Heads;
        using RunResult before = model.Run(s_tokens, new RunOptions { Capture = HookSelection.All });
        var hook = new Hook("blocks.0.hook_q_input", (_, value) => Map(value, (x, i) => i / width % heads == 1 ? x + i % 5 : x));
        using RunResult after = model.Run(s_tokens, new RunOptions { Capture = HookSelection.All, Hooks = [hook] });
        float[] a = before.Cache["blocks.0.attn.hook_z"].ToArray<float>(), b = after.Cache["blocks.0.attn.hook_z"].ToArray<float>();
        int size = model.Description.HeadSize;
        for (int i = 0; i < a.Length; i++)
        {
            bool first = i / size / heads % s_tokens.Length == 0;
            Assert.True(a[i] == b[i] || (i / size % heads == 1 && !first), $"z[{i}] of another head changed");
        }

        Assert.NotEqual(a, b);
    });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void The_results_of_heads_sum_to_what_attention_adds(string name, string deviceName) => With(name, deviceName, model =>
    {
        using RunResult run = model.Run(s_tokens, new RunOptions { Capture = HookSelection.All });
        float[] sums = run.Cache["blocks.1.hook_attn_out"].ToArray<float>(), results = run.Cache["blocks.1.attn.hook_result"].ToArray<float>();
        int width = model.Description.Width, heads = model.Description.Heads;

        // The bias is the same at every token: differences between tokens have none.
        for (int i = width; i < sums.Length; i++)
        {
            double expected = 0;
            for (int head = 0; head < heads; head++)
            {
                expected += results[(i / width * heads + head) * width + i % width] - (double)results[head * width + i % width];
            }

            Assert.Equal(expected, (double)sums[i] - sums[i % width], 1e-4);
        }
    });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void Slices_of_positions_and_the_batch_axis(string name, string deviceName) => With(name, deviceName, model =>
    {
        TokenBatch one = TokenBatch.Single(4, 9, 16, 25, 36);
        using RunResult whole = model.Run(one, new RunOptions { Capture = HookSelection.All });
        using RunResult last = model.Run(one, new RunOptions { Capture = HookSelection.All, Positions = ^2.., RemoveBatch = true });
        foreach ((HookPoint point, Tensor all) in whole.Cache)
        {
            string[] axes = point.Kind.Info().Axes.Split(' ');
            int axis = Array.FindIndex(axes, a => a is "p" or "q");
            int[] shape = all.Shape.Axes.ToArray();
            int inner = shape[(axis + 1)..].Aggregate(1, (x, y) => x * y);
            float[] expected = [.. all.ToArray<float>().Where((_, i) => i / inner % shape[axis] >= 3)];
            shape[axis] = 2;
            Assert.Equal(new Shape(shape[1..]), last.Cache[point].Shape);
            Assert.Equal(expected, last.Cache[point].ToArray<float>());
        }
    });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void Captured_values_outlive_the_model_and_nothing_leaks(string name, string deviceName)
    {
        using Device device = TestDevices.Open(deviceName);
        long before = device.Arena.LiveBytes;
        RunResult run;
        float[] expected;
        using (Model model = Model.Load(Goldens.Folder("models", name), device))
        {
            run = model.Run(s_tokens, new RunOptions { Capture = "*hook_resid_post" });
            expected = run.Cache["blocks.1.hook_resid_post"].ToArray<float>();
            model.Run(s_tokens, new RunOptions { Capture = HookSelection.All }).Dispose();
        }

        Assert.Equal(expected, run.Cache["blocks.1.hook_resid_post"].ToArray<float>());
        run.Dispose();
        Assert.Equal(before, device.Arena.LiveBytes);
        Assert.Throws<HookException>(() => run.Cache["blocks.1.hook_resid_post"]);
    }

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void A_wrong_replacement_an_exception_or_a_cancellation_ends_the_run_and_leaves_the_model_well(string name, string deviceName) =>
        With(name, deviceName, model =>
        {
            float[] untouched = Logits(model, null);
            Assert.Throws<HookException>(() => Logits(model, new Hook("blocks.0.hook_resid_pre", (_, v) => v.Device.Allocate(ElementType.F32, 3))));
            Assert.Throws<InvalidOperationException>(
                () => Logits(model, new Hook("blocks.1.attn.hook_pattern", (_, _) => throw new InvalidOperationException())));
            using var source = new CancellationTokenSource();
            var cancel = new Hook("blocks.0.hook_resid_post", (_, _) =>
            {
                source.Cancel();
                return null;
            });
            Assert.Throws<OperationCanceledException>(() => model.Run(s_tokens, new RunOptions { Hooks = [cancel] }, source.Token));
            Assert.Equal(untouched, Logits(model, null));
        });

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void Callbacks_are_called_in_order_and_captures_come_last(string name, string deviceName) => With(name, deviceName, model =>
    {
        var calls = new List<string>();
        var options = new RunOptions
        {
            Hooks =
            [
                new Hook("blocks.0.hook_mlp_out", (point, _) => Called($"1 {point}")),
                new Hook("blocks.*.hook_mlp_out", (point, value) => Called($"2 {point}") ?? Map(value, (_, _) => 7)),
            ],
            Capture = "blocks.0.hook_mlp_out",
        };
        using RunResult run = model.Run(s_tokens, options);
        Assert.Equal("1 blocks.0.hook_mlp_out", calls[0]);
        Assert.Equal("2 blocks.0.hook_mlp_out", calls[1]);
        Assert.Equal(1 + model.Description.Layers, calls.Count);
        Assert.All(run.Cache["blocks.0.hook_mlp_out"].ToArray<float>(), x => Assert.Equal(7, x));

        Tensor? Called(string call)
        {
            calls.Add(call);
            return null;
        }
    });

    [Fact]
    public void Points_past_the_stop_are_refused_by_name() => With("gpt2", "reference", model =>
    {
        var options = new RunOptions { StopAtLayer = 1, Capture = "blocks.1.hook_resid_pre" };
        Assert.Throws<HookException>(() => model.Run(s_tokens, options));
        using RunResult run = model.Run(s_tokens, options with { Capture = "*.hook_resid_*" });
        Assert.Equal(["blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"], run.Cache.Keys.Select(p => p.Name));
        Assert.Throws<HookException>(() => model.Run(s_tokens, new RunOptions { StopAtLayer = 1, Capture = "ln_final.hook_scale" }));
    });

    [Fact]
    public void Impossible_requests_are_refused() => With("gpt2", "reference", model =>
    {
        Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(model.Description.Vocabulary)));
        Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(-1)));
        Assert.Throws<ModelException>(() => TokenBatch.Single());
        Assert.Throws<ModelException>(() => TokenBatch.Masked([1, 2, 3], 1, 3, [true, false, true]));
        Assert.Throws<ModelException>(() => TokenBatch.Masked([1, 2, 3], 1, 3, [false, false, false]));
        Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(new int[model.Description.Context + 1])));
        Assert.Throws<ModelException>(() => model.Run(s_tokens, new RunOptions { StopAtLayer = 3 }));
        Assert.Throws<ModelException>(() => model.Run(s_tokens, new RunOptions { StartAtLayer = 1 }));
        Assert.Throws<ModelException>(() => model.Run(s_tokens, new RunOptions { RemoveBatch = true }));
        Assert.Throws<ModelException>(() => model.Run(s_tokens, new RunOptions { Positions = 3..9 }));
        Assert.Throws<ModelException>(() => model.Run(TokenBatch.Single(1), new RunOptions { Loss = true }));
    });

    private static void With(string name, string deviceName, Action<Model> test)
    {
        using Device device = TestDevices.Open(deviceName);
        using Model model = Model.Load(Goldens.Folder("models", name), device);
        test(model);
    }

    private static float[] Logits(Model model, Hook? hook)
    {
        using RunResult run = model.Run(s_tokens, new RunOptions { Hooks = hook is null ? [] : [hook] });
        return run.Logits!.ToArray<float>();
    }

    private static Tensor Map(Tensor value, Func<float, int, float> change)
    {
        float[] values = value.ToArray<float>();
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = change(values[i], i);
        }

        return value.Device.Upload<float>(values, value.Shape.Axes);
    }
}
