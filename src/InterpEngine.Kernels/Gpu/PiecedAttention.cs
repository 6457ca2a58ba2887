using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Attention of a few queries to many keys on ordinary cores: groups share the keys among them, so that one sequence keeps a whole GPU
/// busy. There are groups for as many keys as there may be; those that find none are done.
/// </summary>
internal sealed class PiecedAttention : StagedAttention
{
    private readonly int _shares;
    private readonly int _pieces;
    private readonly Kernel<ScoreLauncher> _score;
    private readonly Kernel<MixLauncher> _mix;
    private readonly Kernel<AddLauncher> _add;

    private delegate void ScoreLauncher(
        Queue queue, Config config, Floats q, Floats k, Ints spans, Ints keyCount, Floats slopes, Floats scores, long pairStride, int complete,
        int firstPair, int pieces, int queries, int heads, int kvHeads, int size, int capacity, int keys, int window, int causal,
        float scale, float cap);

    private delegate void MixLauncher(
        Queue queue, Config config, Floats weights, long pairStride, Floats v, Ints spans, Ints keyCount, Floats sums, int firstPair, int pairs,
        int pieces, int queries, int heads, int kvHeads, int valueSize, int capacity, int keys, int window, int causal);

    private delegate void AddLauncher(
        Queue queue, Config config, Floats sums, Ints spans, Ints keyCount, Floats z, Halves zNarrow, int firstPair, int pairs, int queries,
        int heads, int valueSize, int keys, int window, int causal);

    public PiecedAttention(GpuDevice device, in Attention op) : base(device, in op)
    {
        _shares = Heads / KvHeads;
        _pieces = (op.Keys + AttentionKernels.Piece - 1) / AttentionKernels.Piece;
        bool aligned = op.Q.Shape[3] % 4 == 0 && GpuDevice.AreAligned(op.Q, op.K);
        _score = device.Load<ScoreLauncher>(aligned ? PiecedAttentionKernels.Score<AtOnce> : PiecedAttentionKernels.Score<OneByOne>);
        _mix = device.Load<MixLauncher>(PiecedAttentionKernels.Mix);
        _add = device.Load<AddLauncher>(PiecedAttentionKernels.Add);
    }

    /// <summary>Heads that share keys stay together.</summary>
    protected override (int Pairs, int Queries) AtOnce(long held, int pairs) =>
        ((int)Math.Clamp(held / ((long)Queries * Op.Keys) / _shares * _shares, _shares, pairs), Queries);

    protected override void Score(Part part, Square scores) =>
        _score.Launch(
            Device.Stream, (Groups(part), _score.Threads), Device.View<float>(Op.Q), Device.View<float>(Op.K), Device.View<int>(Op.Spans),
            Device.CountOf(Op), Device.ViewOrEmpty(Op.Slopes), scores.View, scores.PairStride, scores.Complete, part.Pair, _pieces, Queries,
            Heads, KvHeads, Op.Q.Shape[3], Op.K.Shape[1], Op.Keys, Op.Window, Causal, Op.Scale, Op.SoftCap);

    protected override void Mix(Part part, Square weights, Tensor z)
    {
        int valueSize = Op.V.Shape[3];
        using Tensor sums = Device.Allocate(ElementType.F32, _pieces, part.Pairs, Queries, valueSize);
        _mix.Launch(
            Device.Stream, (Groups(part), _mix.Threads), weights.View, weights.PairStride, Device.View<float>(Op.V), Device.View<int>(Op.Spans),
            Device.CountOf(Op), Device.View<float>(sums), part.Pair, part.Pairs, _pieces, Queries, Heads, KvHeads, valueSize, Op.V.Shape[1],
            Op.Keys, Op.Window, Causal);
        (Floats wide, Halves narrow) = Device.Views(z);
        _add.Launch(
            Device.Stream, (GpuDevice.Groups((long)part.Pairs * Queries), _add.Threads), Device.View<float>(sums), Device.View<int>(Op.Spans),
            Device.CountOf(Op), wide, narrow, part.Pair, part.Pairs, Queries, Heads, valueSize, Op.Keys, Op.Window, Causal);
    }

    /// <summary>One for each sequence, key/value head and piece of the keys.</summary>
    private int Groups(Part part) => GpuDevice.Groups((long)(part.Pairs / _shares) * _pieces);
}
