using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Attention of many queries on ordinary cores: scores, weights and mixed values one after the other, for as many queries at a time as the
/// GPU's cache holds scores of. What is observed is written where it is wanted, and serves as what is in between.
/// </summary>
internal sealed class TiledAttention
{
    /// <summary>Fewer queries leave most of a tile empty.</summary>
    private const int FewestQueries = 16;

    private readonly GpuDevice _device;
    private readonly Attention _op;
    private readonly int _batch;
    private readonly int _queries;
    private readonly int _heads;
    private readonly int _causal;
    private readonly int _side;
    private readonly Kernel<ScoreLauncher> _score;
    private readonly Kernel<WeighLauncher> _weigh;
    private readonly Kernel<MixLauncher> _mix;

    private delegate void ScoreLauncher(
        Queue queue, Config config, Floats q, Floats k, Ints spans, Floats slopes, Floats scores, long pairStride, int complete, int firstPair,
        int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads, int size, int capacity,
        int keys, int window, int causal, float scale, float cap);

    private delegate void WeighLauncher(
        Queue queue, Config config, Floats scores, long scoresPairStride, Ints spans, Floats sinks, Floats weights, long pairStride,
        int complete, int firstPair, int firstQuery, int count, int queries, int heads, int keys, int window, int causal);

    private delegate void MixLauncher(
        Queue queue, Config config, Floats weights, long pairStride, Floats v, Ints spans, Floats z, Halves zNarrow, int firstPair,
        int firstQuery, int lastQuery, int side, int tilesDown, int tilesAcross, int queries, int heads, int kvHeads, int valueSize,
        int capacity, int keys, int window, int causal);

    private TiledAttention(GpuDevice device, in Attention op)
    {
        (_device, _op, _causal) = (device, op, op.Causal ? 1 : 0);
        (_batch, _queries, _heads) = (op.Q.Shape[0], op.Q.Shape[1], op.Q.Shape[2]);
        _score = device.Load<ScoreLauncher>(
            op.Keys % 4 == 0 && GpuDevice.AreAligned(op.Scores) ? TiledAttentionKernels.Score<AtOnce> : TiledAttentionKernels.Score<OneByOne>);
        _mix = device.Load<MixLauncher>(
            op.V.Shape[3] % 4 == 0 && GpuDevice.AreAligned(op.Z) ? TiledAttentionKernels.Mix<AtOnce> : TiledAttentionKernels.Mix<OneByOne>);
        _weigh = device.Load<WeighLauncher>(TiledAttentionKernels.Weigh);
        _side = PlainProduct.Side(_score.Threads);
    }

    /// <summary>Whether the op is made here. A stage that is given is not also shown.</summary>
    public static bool Accepts(in Attention op) =>
        op.Q.Shape[1] >= FewestQueries && op.KeyCount is null && (op.GivenScores is null || op.Scores is null)
        && (op.GivenPattern is null || (op.Scores ?? op.Pattern) is null);

    public static void Run(GpuDevice device, in Attention op) => new TiledAttention(device, in op).Run();

    private void Run()
    {
        Tensor? scores = _op.GivenScores ?? _op.Scores, weights = _op.GivenPattern ?? _op.Pattern;
        bool weigh = _op.GivenPattern is null && (_op.Pattern ?? _op.Z) is not null;
        bool score = _op.GivenPattern is null && _op.GivenScores is null && (weigh || scores is not null);
        int queriesAtOnce = _queries, pairs = _batch * _heads, pairsAtOnce = pairs;
        bool needsScratch = (score && scores is null) || (weigh && weights is null);
        if (needsScratch)
        {
            int tile = TiledAttentionKernels.Down * _side;
            long held = _device.Platform.CachedBytes / sizeof(float);
            queriesAtOnce = (int)Math.Min(_queries, Math.Max(tile, held / _op.Keys / tile * tile));
            pairsAtOnce = (int)Math.Clamp(held / ((long)queriesAtOnce * _op.Keys), 1, pairs);
        }

        using Tensor? scratch = needsScratch ? _device.Allocate(ElementType.F32, pairsAtOnce, queriesAtOnce, _op.Keys) : null;
        for (int pair = 0; pair < pairs; pair += pairsAtOnce)
        {
            for (int query = 0; query < _queries; query += queriesAtOnce)
            {
                var part = new Part(pair, Math.Min(pairsAtOnce, pairs - pair), query, Math.Min(queriesAtOnce, _queries - query));
                Square scoresAt = At(scores, scratch, part), weightsAt = At(weights, scratch, part);
                if (score)
                {
                    Score(part, scoresAt);
                }

                if (weigh)
                {
                    Weigh(part, scoresAt, weightsAt);
                }

                if (_op.Z is { Shape.Count: > 0 } z)
                {
                    Mix(part, weightsAt, z);
                }
            }
        }
    }

    private Square At(Tensor? whole, Tensor? scratch, Part part)
    {
        long stride = (long)_queries * _op.Keys;
        return whole is not null
            ? new Square(_device.View<float>(whole).SubView(part.Pair * stride + (long)part.Query * _op.Keys), stride, 1)
            : new Square(_device.ViewOrEmpty(scratch), (long)part.Queries * _op.Keys, 0);
    }

    private void Score(Part part, Square scores)
    {
        int down = Tiles(part.Queries, TiledAttentionKernels.Down), across = Tiles(_op.Keys, TiledAttentionKernels.Across);
        _score.Launch(
            _device.Stream, (GpuDevice.Groups((long)part.Pairs * down * across), _side * _side), _device.View<float>(_op.Q),
            _device.View<float>(_op.K), _device.View<int>(_op.Spans), _device.ViewOrEmpty(_op.Slopes), scores.View, scores.PairStride,
            scores.Complete, part.Pair, part.Query, part.LastQuery, _side, down, across, _queries, _heads, _op.K.Shape[2], _op.Q.Shape[3],
            _op.K.Shape[1], _op.Keys, _op.Window, _causal, _op.Scale, _op.SoftCap);
    }

    private void Weigh(Part part, Square scores, Square weights) =>
        _weigh.Launch(
            _device.Stream, (GpuDevice.Groups((long)part.Pairs * part.Queries), _weigh.Threads), scores.View, scores.PairStride,
            _device.View<int>(_op.Spans), _device.ViewOrEmpty(_op.Sinks), weights.View, weights.PairStride, weights.Complete, part.Pair,
            part.Query, part.Queries, _queries, _heads, _op.Keys, _op.Window, _causal);

    private void Mix(Part part, Square weights, Tensor z)
    {
        (Floats wide, Halves narrow) = _device.Views(z);
        int down = Tiles(part.Queries, TiledAttentionKernels.Down), across = Tiles(_op.V.Shape[3], TiledAttentionKernels.Across);
        _mix.Launch(
            _device.Stream, (GpuDevice.Groups((long)part.Pairs * down * across), _side * _side), weights.View, weights.PairStride,
            _device.View<float>(_op.V), _device.View<int>(_op.Spans), wide, narrow, part.Pair, part.Query, part.LastQuery, _side, down,
            across, _queries, _heads, _op.K.Shape[2], _op.V.Shape[3], _op.V.Shape[1], _op.Keys, _op.Window, _causal);
    }

    /// <summary>How many tiles rows or columns need.</summary>
    private int Tiles(int count, int ofThread) => (count + ofThread * _side - 1) / (ofThread * _side);

    /// <summary>What is made at a time.</summary>
    private readonly record struct Part(int Pair, int Pairs, int Query, int Queries)
    {
        public int LastQuery => Query + Queries - 1;
    }

    /// <summary>Where a part's scores or weights lie.</summary>
    /// <param name="View">From the part's first row on.</param>
    /// <param name="PairStride">Elements from one sequence and head to the next.</param>
    /// <param name="Complete">Whether someone sees it: 1 or 0.</param>
    private readonly record struct Square(Floats View, long PairStride, int Complete);
}
