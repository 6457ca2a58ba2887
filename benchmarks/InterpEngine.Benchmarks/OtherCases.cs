using InterpEngine.Kernels;
using InterpEngine.Kernels.Cpu;

namespace InterpEngine.Benchmarks;

/// <summary>Attention, and the ops that read and write memory, at the sizes of a GPT-2-small-shaped model on 8×128 tokens.</summary>
internal static class OtherCases
{
    private const int Tokens = 1024, Width = 768, Neurons = 3072, Heads = 12, HeadSize = 64, Vocabulary = 50257;

    private static CpuDevice Cpu => Machine.Device;

    public static IEnumerable<OpCase> All() =>
    [
        Attention("8×128", 8, 128, 128), Attention("1×1024", 1, 1024, 1024), Attention("1×8192", 1, 8192, 8192),
        Attention("1×1 after 1023", 1, 1, 1024), Attention("8×128 with scores and pattern", 8, 128, 128, observed: true),
        Op("Norm (layer)", 2 * Tokens * Width, () =>
        {
            (Tensor x, Tensor gain, Tensor bias, Tensor y) = (Make(Tokens, Width), Make(Width), Make(Width), Make(Tokens, Width));
            return () => Cpu.Run(new Norm { Kind = NormKind.Layer, X = x, Epsilon = 1e-5f, Gain = gain, Bias = bias, Out = y });
        }),
        Op("Norm (RMS)", 2 * Tokens * Width, () =>
        {
            (Tensor x, Tensor gain, Tensor y) = (Make(Tokens, Width), Make(Width), Make(Tokens, Width));
            return () => Cpu.Run(new Norm { Kind = NormKind.Rms, X = x, Epsilon = 1e-5f, Gain = gain, Out = y });
        }),
        Op("Norm (RMS) + residual", 3 * Tokens * Width, () =>
        {
            (Tensor x, Tensor gain, Tensor residual, Tensor y) = (Make(Tokens, Width), Make(Width), Make(Tokens, Width), Make(Tokens, Width));
            return () => Cpu.Run(new Norm
            {
                Kind = NormKind.Rms,
                X = x,
                Epsilon = 1e-5f,
                Gain = gain,
                Residual = Matrix.From(residual),
                Out = y,
            });
        }),
        Op("Map (scale)", 2 * Tokens * Width, () => Mapped(MapKind.Scale)),
        Op("Map (soft cap)", 2 * Tokens * Width, () => Mapped(MapKind.SoftCap)),
        Op("Rotary", 2 * Tokens * Width, () =>
        {
            (Tensor x, Tensor cos, Tensor sin) = (Make(Tokens, Heads, HeadSize), Make(Tokens, HeadSize / 2), Make(Tokens, HeadSize / 2));
            Tensor positions = Indices(Tokens);
            return () => Cpu.Run(new Rotary { X = x, Positions = positions, Cos = cos, Sin = sin, Out = x });
        }),
        Op("Add", 3 * Tokens * Width, () =>
        {
            (Tensor a, Tensor b, Tensor y) = (Make(Tokens, Width), Make(Tokens, Width), Make(Tokens, Width));
            return () => Cpu.Run(new Add { A = a, B = b, Out = y });
        }),
        Op("Activate (GELU, tanh)", 2 * Tokens * Neurons, () => Activated(Activation.GeluTanh, gated: false)),
        Op("Activate (GELU, erf)", 2 * Tokens * Neurons, () => Activated(Activation.Gelu, gated: false)),
        Op("Activate (SiLU ⊙ gate)", 3 * Tokens * Neurons, () => Activated(Activation.Silu, gated: true)),
        Op("Copy", 2 * Tokens * Width, () =>
        {
            (Tensor x, Tensor y) = (Make(Tokens, Width), Make(Tokens, Width));
            return () => Cpu.Run(new Copy { From = x, To = y });
        }),
        Op("Fill", Tokens * Width, () =>
        {
            Tensor y = Make(Tokens, Width);
            return () => Cpu.Run(new Fill { Out = y, Value = 1 });
        }),
        Op("RepeatHeads", (1 + Heads) * Tokens * Width, () =>
        {
            (Tensor x, Tensor y) = (Make(Tokens, Width), Make(Tokens, Heads, Width));
            return () => Cpu.Run(new RepeatHeads { X = x, Out = y });
        }),
        Op("SumHeads", (1 + Heads) * Tokens * Width, () =>
        {
            (Tensor x, Tensor y) = (Make(Tokens, Heads, Width), Make(Tokens, Width));
            return () => Cpu.Run(new SumHeads { X = x, Out = y });
        }),
        Op("LogProbability", Tokens * Vocabulary, () =>
        {
            (Tensor x, Tensor targets, Tensor y) = (Make(Tokens, Vocabulary), Indices(Tokens), Make(Tokens));
            return () => Cpu.Run(new LogProbability { X = x, Targets = targets, Out = y });
        }),
        Op("LogSoftmax", 2 * Tokens * Vocabulary, () =>
        {
            (Tensor x, Tensor y) = (Make(Tokens, Vocabulary), Make(Tokens, Vocabulary));
            return () => Cpu.Run(new LogSoftmax { X = x, Out = y });
        }),
        Op("LogProbability of 10", Tokens * Vocabulary, () =>
        {
            (Tensor x, Tensor y) = (Make(Tokens, Vocabulary), Make(Tokens, 10));
            Tensor targets = Cpu.Upload<int>([.. Enumerable.Range(0, 10 * Tokens)], Tokens, 10);
            return () => Cpu.Run(new LogProbability { X = x, Targets = targets, Out = y });
        }),
        Op("Route (8 of 64)", Tokens * (64 + 16), () =>
        {
            (Tensor logits, Tensor weights) = (Make(Tokens, 64), Make(Tokens, 8));
            Tensor chosen = Cpu.Allocate(ElementType.I32, Tokens, 8);
            return () => Cpu.Run(new Route { Logits = logits, Indices = chosen, Weights = weights });
        }),
        Op("GatherRows", 2 * Tokens * Width, () =>
        {
            (Tensor x, Tensor y, Tensor rows) = (Make(Tokens, Width), Make(Tokens, Width), Indices(Tokens));
            return () => Cpu.Run(new GatherRows { From = x, Indices = rows, Out = y });
        }),
        Op("CombineRows (8)", 9 * Tokens * Width, () =>
        {
            (Tensor x, Tensor y, Tensor weights) = (Make(8 * Tokens, Width), Make(Tokens, Width), Make(Tokens, 8));
            Tensor rows = Cpu.Upload<int>([.. Enumerable.Range(0, 8 * Tokens)], Tokens, 8);
            return () => Cpu.Run(new CombineRows { X = x, Indices = rows, Weights = weights, Out = y });
        }),
        Op("ClampedSwiglu", 3 * Tokens * Neurons, () =>
        {
            (Tensor gate, Tensor up, Tensor y) = (Make(Tokens, Neurons), Make(Tokens, Neurons), Make(Tokens, Neurons));
            return () => Cpu.Run(new ClampedSwiglu { Gate = gate, Up = up, Alpha = 1.702f, Limit = 7, Out = y });
        }),
        Op("TopK (10)", Tokens * Vocabulary, () =>
        {
            (Tensor x, Tensor values) = (Make(Tokens, Vocabulary), Make(Tokens, 10));
            Tensor indices = Cpu.Allocate(ElementType.I32, Tokens, 10);
            return () => Cpu.Run(new TopK { X = x, Values = values, Indices = indices });
        }),
    ];

    /// <summary>Half of the scores are masked, and their products are not computed.</summary>
    private static OpCase Attention(string name, int batch, int queries, int keys, bool observed = false)
    {
        double visible = (double)batch * Heads * (queries == 1 ? keys : queries * (keys + 1.0) / 2);
        double bytes = 4.0 * batch * Heads * HeadSize * (2 * keys + 2 * queries) + (observed ? 8.0 * batch * Heads * queries * keys : 0);
        return new($"Attention {name}", 4 * visible * HeadSize, bytes, () =>
        {
            (Tensor q, Tensor z) = (Make(batch, queries, Heads, HeadSize), Make(batch, queries, Heads, HeadSize));
            (Tensor k, Tensor v) = (Make(batch, keys, Heads, HeadSize), Make(batch, keys, Heads, HeadSize));
            int[] ends = [.. Enumerable.Range(0, 2 * batch).Select(i => i % 2 * keys)];
            var op = new Attention
            {
                Q = q,
                K = k,
                V = v,
                Keys = keys,
                Spans = Cpu.Upload<int>(ends, batch, 2),
                Scale = 0.125f,
                Z = z,
                Scores = observed ? Make(batch, Heads, queries, keys) : null,
                Pattern = observed ? Make(batch, Heads, queries, keys) : null,
            };
            return () => Cpu.Run(op);
        });
    }

    private static Action Activated(Activation activation, bool gated)
    {
        (Tensor x, Tensor gate, Tensor y) = (Make(Tokens, Neurons), Make(Tokens, Neurons), Make(Tokens, Neurons));
        return () => Cpu.Run(new Activate { X = x, Activation = activation, Multiply = gated ? Matrix.From(gate) : default(Matrix?), Out = y });
    }

    private static Action Mapped(MapKind kind)
    {
        (Tensor x, Tensor y) = (Make(Tokens, Width), Make(Tokens, Width));
        return () => Cpu.Run(new Map { X = x, Kind = kind, Parameter = 30, Out = y });
    }

    private static OpCase Op(string name, long floats, Func<Action> prepare) => new(name, 0, 4.0 * floats, prepare);

    private static Tensor Make(params ReadOnlySpan<int> axes) => RandomData.Tensor(Machine.Device, axes);

    private static Tensor Indices(int count) => Cpu.Upload<int>([.. Enumerable.Range(0, count)], count);
}
