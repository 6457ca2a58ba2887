using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Whole models against the same weights in libtorch: forward passes, capture, decoding, loading.</summary>
internal static class ModelComparisons
{
    private const string Fused = "libtorch, fused attention", Eager = "libtorch eager, every point kept", Halves = "libtorch BF16, fused attention";

    public static void Gpt2(Session session)
    {
        using var checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);
        Load(session, checkpoint);
        using Model model = Model.Load(checkpoint.Folder, session.Device);
        using (var other = new TorchGpt2(checkpoint.Folder))
        {
            TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, 8, 128);
            CheckAgreement(model, other);
            Forward(session, model, other, "GPT-2 small shape, 8×128", tokens, LogitsWanted.None, Fused, 1.5);
            Forward(session, model, other, "GPT-2 small shape, 8×128", tokens, LogitsWanted.All, Fused, 1.5);
            Observed(session, model, other, "GPT-2 small shape, 8×128", tokens, 1.5);
            Observed(session, model, other, "GPT-2 small shape, 1×16", RandomCheckpoint.Tokens(model.Description.Vocabulary, 1, 16), 3);
            Overheads(session, model, tokens);
            Decode(session, model, other, "fp32", Fused);
        }

        model.Dispose();
        using Model halves = Model.Load(checkpoint.Folder, session.Device, new LoadOptions { WeightType = ElementType.BF16 });
        using (var other = new TorchGpt2(checkpoint.Folder, ScalarType.BFloat16))
        {
            TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, 8, 128);
            Forward(session, halves, other, "GPT-2 small shape, 8×128, BF16", tokens, LogitsWanted.None, Halves, 1.3);
            Forward(session, halves, other, "GPT-2 small shape, 8×128, BF16", tokens, LogitsWanted.All, Halves, 1.3);
            Decode(session, halves, other, "BF16", Halves);
            halves.Dispose();
            using Model integers = Model.Load(checkpoint.Folder, session.Device, new LoadOptions { WeightType = ElementType.I8 });
            Forward(session, integers, other, "GPT-2 small shape, 8×128, INT8", tokens, LogitsWanted.None, Halves, null);
            Decode(session, integers, other, "INT8", Halves);
        }
    }

    public static void Capture(Session session)
    {
        using var checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);
        using Model model = Model.Load(checkpoint.Folder, session.Device);
        CaptureComparison.Run(session, model);
    }

    public static void Tales(Session session)
    {
        using Model model = Model.Load(Model.TalesPath, session.Device);
        using var other = new TorchGpt2(Model.TalesPath);
        CheckAgreement(model, other);
        TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, 1, 16);
        Observed(session, model, other, "Tales, 1×16", tokens, 3);
        Forward(session, model, other, "Tales, 1×16", tokens, LogitsWanted.All, Fused, null);
    }

    public static void Llama(Session session)
    {
        using var checkpoint = new RandomCheckpoint(RandomCheckpoint.LlamaShaped);
        using Model model = Model.Load(checkpoint.Folder, session.Device);
        TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, 1, 1024);
        using (var other = new TorchLlama(checkpoint.Folder))
        {
            CheckAgreement(model, other);
            Forward(session, model, other, "Llama shape, 1×1024", tokens, LogitsWanted.None, Fused, 1.5);
        }

        model.Dispose();
        using Model halves = Model.Load(checkpoint.Folder, session.Device, new LoadOptions { WeightType = ElementType.BF16 });
        using (var other = new TorchLlama(checkpoint.Folder, ScalarType.BFloat16))
        {
            Forward(session, halves, other, "Llama shape, 1×1024, BF16", tokens, LogitsWanted.None, Halves, 1.3);
        }
    }

    private static void Forward(
        Session session, Model model, TorchModel other, string work, TokenBatch tokens, LogitsWanted logits, string against, double? bar)
    {
        using Tensor ids = Ids(tokens);
        other.Kept = null;
        session.Measure(new Comparison(
            $"{work}, {(logits == LogitsWanted.None ? "no logits" : "logits")}", against, bar,
            () => model.Run(tokens, new RunOptions { Logits = logits }).Dispose(),
            () => other.Run(ids, logits).Dispose()));
    }

    /// <summary>Every point that TransformerLens shows without a flag, and the logits.</summary>
    private static void Observed(Session session, Model model, TorchModel other, string work, TokenBatch tokens, double bar)
    {
        using Tensor ids = Ids(tokens);
        var options = new RunOptions { Capture = Unflagged(model) };
        session.Measure(new Comparison(
            $"{work}, every point and logits", Eager, bar,
            () => model.Run(tokens, options).Dispose(),
            () =>
            {
                other.Kept = [];
                other.Run(ids, LogitsWanted.All).Dispose();
                other.Kept = null;
            }));
    }

    private static void Overheads(Session session, Model model, TokenBatch tokens)
    {
        var plain = new RunOptions { Logits = LogitsWanted.None };
        foreach ((string what, HookSelection points, double most) in ((string, HookSelection, double)[])[
            ("one layer's residual", "blocks.6.hook_resid_post", 1.03),
            ("all residuals", "blocks.*.hook_resid_post", 1.1),
            ("every point", Unflagged(model), 1.3)])
        {
            RunOptions observed = plain with { Capture = points };
            session.Measure(new Comparison(
                $"observing {what}, 8×128, no logits", "no hooks", 1 / most,
                () => model.Run(tokens, observed).Dispose(),
                () => model.Run(tokens, plain).Dispose()));
            session.Device.Arena.ResetPeak();
            model.Run(tokens, observed).Dispose();
            session.Memory.Add(($"buffers of a forward pass, 8×128, observing {what}", session.Device.Arena.PeakBytes, null));
        }

        session.Device.Arena.ResetPeak();
        model.Run(tokens, plain).Dispose();
        session.Memory.Add(("buffers of a forward pass, 8×128", session.Device.Arena.PeakBytes, null));
    }

    private static void Decode(Session session, Model model, TorchModel other, string weights, string against)
    {
        const int steps = 32;
        TokenBatch prompt = RandomCheckpoint.Tokens(model.Description.Vocabulary, 1, 16);
        using Tensor ids = Ids(prompt);
        other.CreateCache(1, 16 + steps);

        // Every weight is read once a step, but of the positions one row.
        long positions = (long)model.Description.Context * model.Description.Width;
        long read = model.WeightBytes - positions * (model.Loading.WeightType == ElementType.F32 ? 4 : 2);
        session.Measure(new Comparison(
            $"GPT-2 small shape, {steps} greedy tokens, {weights}", against, null,
            () =>
            {
                foreach (GeneratedToken?[] _ in model.Generate(prompt, new GenerationOptions { MaxTokens = steps, StopAtEnd = false }))
                {
                }
            },
            () =>
            {
                using DisposeScope scope = NewDisposeScope();
                other.Past = 0;
                Tensor next = ids;
                for (int step = 0; step < steps; step++)
                {
                    next = other.Run(next, LogitsWanted.Last).argmax(-1);
                    _ = next.item<long>();
                }
            })
        {
            OfBandwidth = ((double)steps * read, 0.8),
        });
        other.Cache = null;
        other.Past = 0;
    }

    private static void Load(Session session, RandomCheckpoint checkpoint)
    {
        var buffer = new byte[8 << 20];
        session.Measure(new Comparison(
            "loading a GPT-2 small shape", "plain read of the cached file", 0.4,
            () => Model.Load(checkpoint.Folder, session.Device).Dispose(),
            () =>
            {
                using FileStream file = new(checkpoint.WeightsFile, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
                while (file.Read(buffer) > 0)
                {
                }
            }));
    }

    /// <summary>A comparison is honest only where both compute the same.</summary>
    private static void CheckAgreement(Model model, TorchModel other)
    {
        TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, 2, 24);
        using RunResult run = model.Run(tokens);
        using Tensor ids = Ids(tokens);
        float[] ours = run.Logits!.ToArray<float>();
        foreach (List<Tensor>? kept in (List<Tensor>?[])[null, []])
        {
            other.Kept = kept;
            using Tensor logits = other.Run(ids, LogitsWanted.All);
            float[] theirs = logits.data<float>().ToArray();
            float largest = ours.Max(MathF.Abs), difference = ours.Zip(theirs, (a, b) => MathF.Abs(a - b)).Max();
            if (!(difference <= 1e-3f * Math.Max(1, largest)))
            {
                throw new InvalidOperationException($"{model.Path}: libtorch's logits differ by {difference}, of {largest} at most.");
            }
        }

        other.Kept = null;
    }

    public static HookSelection Unflagged(Model model) =>
        HookSelection.FromPoints([.. model.Points.Points.Where(point => !point.Kind.Info().Flagged)]);

    private static Tensor Ids(TokenBatch tokens) =>
        tensor(tokens.Ids.ToArray().Select(id => (long)id).ToArray(), [tokens.Batch, tokens.Length]);
}
