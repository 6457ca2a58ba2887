using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Exact attention in stages: scores, weights and mixed values one after the other, for as many rows at a time as the GPU's cache holds
/// scores of. What is observed is written where it is wanted, and serves as what is in between.
/// </summary>
internal abstract class StagedAttention
{
    /// <summary>Fewer queries leave most of a tile empty.</summary>
    private const int FewestOfTile = 16;

    private readonly Kernel<WeighLauncher> _weigh;

    private delegate void WeighLauncher(
        Queue queue, Config config, Floats scores, long scoresPairStride, Ints spans, Ints keyCount, Floats sinks, Floats weights,
        long pairStride, int complete, int firstPair, int firstQuery, int count, int queries, int heads, int keys, int window, int causal);

    protected StagedAttention(GpuDevice device, in Attention op)
    {
        (Device, Op, Causal) = (device, op, op.Causal ? 1 : 0);
        (Queries, Heads, KvHeads) = (op.Q.Shape[1], op.Q.Shape[2], op.K.Shape[2]);
        _weigh = device.Load<WeighLauncher>(TiledAttentionKernels.Weigh);
    }

    protected GpuDevice Device { get; }

    protected Attention Op { get; }

    protected int Causal { get; }

    protected int Queries { get; }

    protected int Heads { get; }

    protected int KvHeads { get; }

    /// <summary>The way for an op; null for one that is small, or shows a stage that is given.</summary>
    public static StagedAttention? Of(GpuDevice device, in Attention op)
    {
        bool shows = op.GivenPattern is not null ? (op.Scores ?? op.Pattern) is not null : op.GivenScores is not null && op.Scores is not null;
        bool few = op.Q.Shape[1] < FewestOfTile;
        return shows ? null
            : few ? (op.Keys > AttentionKernels.Piece ? new PiecedAttention(device, in op) : null)
            : op.KeyCount is null ? new TiledAttention(device, in op) : null;
    }

    public void Run()
    {
        Tensor? scores = Op.GivenScores ?? Op.Scores, weights = Op.GivenPattern ?? Op.Pattern;
        bool weigh = Op.GivenPattern is null && (Op.Pattern ?? Op.Z) is not null;
        bool score = Op.GivenPattern is null && Op.GivenScores is null && (weigh || scores is not null);
        bool needsScratch = (score && scores is null) || (weigh && weights is null);
        int pairs = Op.Q.Shape[0] * Heads;
        (int pairsAtOnce, int queriesAtOnce) = needsScratch ? AtOnce(Device.Platform.CachedBytes / sizeof(float), pairs) : (pairs, Queries);
        using Tensor? scratch = needsScratch ? Device.Allocate(ElementType.F32, pairsAtOnce, queriesAtOnce, Op.Keys) : null;
        for (int pair = 0; pair < pairs; pair += pairsAtOnce)
        {
            for (int query = 0; query < Queries; query += queriesAtOnce)
            {
                var part = new Part(pair, Math.Min(pairsAtOnce, pairs - pair), query, Math.Min(queriesAtOnce, Queries - query));
                Square scoresAt = At(scores, scratch, part), weightsAt = At(weights, scratch, part);
                if (score)
                {
                    Score(part, scoresAt);
                }

                if (weigh)
                {
                    Weigh(part, scoresAt, weightsAt);
                }

                if (Op.Z is { Shape.Count: > 0 } z)
                {
                    Mix(part, weightsAt, z);
                }
            }
        }
    }

    /// <summary>How many pairs of sequence and head, and queries, are made at a time where so many scores can be held.</summary>
    protected abstract (int Pairs, int Queries) AtOnce(long held, int pairs);

    protected abstract void Score(Part part, Square scores);

    protected abstract void Mix(Part part, Square weights, Tensor z);

    private Square At(Tensor? whole, Tensor? scratch, Part part)
    {
        long stride = (long)Queries * Op.Keys;
        return whole is not null
            ? new Square(Device.View<float>(whole).SubView(part.Pair * stride + (long)part.Query * Op.Keys), stride, 1)
            : new Square(Device.ViewOrEmpty(scratch), (long)part.Queries * Op.Keys, 0);
    }

    private void Weigh(Part part, Square scores, Square weights) =>
        _weigh.Launch(
            Device.Stream, (GpuDevice.Groups((long)part.Pairs * part.Queries), _weigh.Threads), scores.View, scores.PairStride,
            Device.View<int>(Op.Spans), Device.CountOf(Op), Device.ViewOrEmpty(Op.Sinks), weights.View, weights.PairStride, weights.Complete,
            part.Pair, part.Query, part.Queries, Queries, Heads, Op.Keys, Op.Window, Causal);

    /// <summary>What is made at a time.</summary>
    protected readonly record struct Part(int Pair, int Pairs, int Query, int Queries)
    {
        public int LastQuery => Query + Queries - 1;
    }

    /// <summary>Where a part's scores or weights lie.</summary>
    /// <param name="View">From the part's first row on.</param>
    /// <param name="PairStride">Elements from one sequence and head to the next.</param>
    /// <param name="Complete">Whether someone sees it: 1 or 0.</param>
    protected readonly record struct Square(Floats View, long PairStride, int Complete);
}
