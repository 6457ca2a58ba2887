using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Attention of many queries on ordinary cores, in tiles of them.</summary>
internal sealed class TiledAttention : StagedAttention
{
    private readonly int _side;
    private readonly Kernel<ScoreLauncher> _score;
    private readonly Kernel<MixLauncher> _mix;

    private delegate void ScoreLauncher(
        Queue queue, Config config, Floats q, Floats k, Ints spans, Floats slopes, Floats scores, long pairStride, int complete, int firstPair,
        int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads, int size, int capacity,
        int keys, int window, int causal, float scale, float cap);

    private delegate void MixLauncher(
        Queue queue, Config config, Floats weights, long pairStride, Floats v, Ints spans, Floats z, Halves zNarrow, int firstPair,
        int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads, int valueSize,
        int capacity, int keys, int window, int causal);

    public TiledAttention(GpuDevice device, in Attention op) : base(device, in op)
    {
        _score = device.Load<ScoreLauncher>(
            op.Keys % 4 == 0 && GpuDevice.AreAligned(op.Scores) ? TiledAttentionKernels.Score<AtOnce> : TiledAttentionKernels.Score<OneByOne>);
        _mix = device.Load<MixLauncher>(
            op.V.Shape[3] % 4 == 0 && GpuDevice.AreAligned(op.Z) ? TiledAttentionKernels.Mix<AtOnce> : TiledAttentionKernels.Mix<OneByOne>);
        _side = PlainProduct.Side(_score.Threads);
    }

    protected override (int Pairs, int Queries) AtOnce(long held, int pairs)
    {
        int tile = TiledAttentionKernels.Down * _side;
        int queries = (int)Math.Min(Queries, Math.Max(tile, held / Op.Keys / tile * tile));
        return ((int)Math.Clamp(held / ((long)queries * Op.Keys), 1, pairs), queries);
    }

    protected override void Score(Part part, Square scores)
    {
        int down = Tiles(part.Queries, TiledAttentionKernels.Down), across = Tiles(Op.Keys, TiledAttentionKernels.Across);
        _score.Launch(
            Device.Stream, (GpuDevice.Groups((long)part.Pairs * down * across), _side * _side), Device.View<float>(Op.Q),
            Device.View<float>(Op.K), Device.View<int>(Op.Spans), Device.ViewOrEmpty(Op.Slopes), scores.View, scores.PairStride,
            scores.Complete, part.Pair, part.Query, part.LastQuery, _side, down, across, Queries, Heads, KvHeads, Op.Q.Shape[3],
            Op.K.Shape[1], Op.Keys, Op.Window, Causal, Op.Scale, Op.SoftCap);
    }

    protected override void Mix(Part part, Square weights, Tensor z)
    {
        (Floats wide, Halves narrow) = Device.Views(z);
        int down = Tiles(part.Queries, TiledAttentionKernels.Down), across = Tiles(Op.V.Shape[3], TiledAttentionKernels.Across);
        _mix.Launch(
            Device.Stream, (GpuDevice.Groups((long)part.Pairs * down * across), _side * _side), weights.View, weights.PairStride,
            Device.View<float>(Op.V), Device.View<int>(Op.Spans), wide, narrow, part.Pair, part.Query, part.LastQuery, _side, down,
            across, Queries, Heads, KvHeads, Op.V.Shape[3], Op.V.Shape[1], Op.Keys, Op.Window, Causal);
    }

    /// <summary>How many tiles rows or columns need.</summary>
    private int Tiles(int count, int ofThread) => (count + ofThread * _side - 1) / (ofThread * _side);
}
