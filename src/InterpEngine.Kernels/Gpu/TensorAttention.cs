using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Attention in BF16 on tensor cores, for all options but given scores and patterns.</summary>
internal static class TensorAttention
{
    private delegate void PackLauncher(
        Queue queue, Config config, Floats k, Floats v, Ints keyCount, int capacity, int keys, int heads, int size, int valueSize, int keyChunks,
        int chunks, int alignedKeys, int alignedValues, long count, ArrayView<Bits4> packed);

    private delegate void AttendLauncher(
        Queue queue, Config config, Floats q, ArrayView<Bits4> packed, Ints sequences, Ints keyCount, Floats slopes,
        Floats sinks, Floats statistics, ArrayView<Sum4> totals, Floats z, Halves zNarrow, int queries, int heads, int kvHeads, int size,
        int valueSize, int keys, int window, int causal, float scale, float cap, int stages, int aligned);

    private delegate void StepLauncher(
        Queue queue, Config config, Floats q, Floats k, Floats v, Ints sequences, Ints keyCount, Floats slopes, Floats sinks,
        ArrayView<Sum4> outputs, ArrayView<Sum4> softmaxes, Floats z, Halves zNarrow, int pieces, int queries, int heads, int kvHeads, int size,
        int valueSize, int capacity, int keys, int window, int causal, float scale, float cap);

    private delegate void JoinLauncher(
        Queue queue, Config config, Ints sequences, Ints keyCount, Floats sinks, ArrayView<Sum4> outputs, ArrayView<Sum4> softmaxes, Floats z,
        Halves zNarrow, int pieces, int queries, int heads, int kvHeads, int valueSize, int keys, int window, int causal);

    private delegate void ObserveLauncher(
        Queue queue, Config config, Floats q, ArrayView<Bits4> packed, Ints spans, Floats slopes, Floats statistics, Floats scores,
        Floats pattern, int queries, int heads, int kvHeads, int size, int keys, int window, int causal, float scale, float cap,
        int stride, int aligned);

    /// <summary>Whether the op is made here. It depends on shapes and options that a sequence's company does not
    /// change.</summary>
    public static bool Accepts(GpuPlatform platform, in Attention op) =>
        TensorProduct.RunsOn(platform) && op.GivenScores is null && op.GivenPattern is null
        && Math.Max(op.Q.Shape[3], op.V.Shape[3]) <= LargestSize(platform);

    /// <summary>The largest head that fits in a group's shared memory.</summary>
    private static int LargestSize(GpuPlatform platform) =>
        TensorAttentionKernels.Stages<Head256>(TensorAttentionKernels.LargestSize, platform.GroupBytes) > 0
            ? TensorAttentionKernels.LargestSize
            : TensorAttentionKernels.LargestSize / 2;

    public static void Run(GpuDevice device, in Attention op)
    {
        if (op.SoftCap > 0)
        {
            Run<CappedScore>(device, in op);
        }
        else if (op.Slopes is not null || !(op.Scale > 0))
        {
            Run<SlopedScore>(device, in op);
        }
        else
        {
            Run<PlainScore>(device, in op);
        }
    }

    private static void Run<TScore>(GpuDevice device, in Attention op) where TScore : struct, IScore
    {
        int batch = op.Q.Shape[0], queries = op.Q.Shape[1], heads = op.Q.Shape[2], rows = queries * (heads / op.K.Shape[2]);
        bool whole = op.Q.Shape[3] % 8 == 0 && Aligned(op.Q) == 1 && Aligned(op.K) == 1;
        if (rows <= TensorAttentionStepKernels.MostRows && whole && (op.Scores ?? op.Pattern) is null && op.Z is { } z)
        {
            Step<TScore>(device, in op, z);
            return;
        }

        using Tensor statistics = device.Allocate(ElementType.F32, batch, queries, heads, 2);
        using Tensor? unwanted = op.Z is null ? device.Allocate(ElementType.F32, batch, queries, heads, op.V.Shape[3]) : null;
        Attend<TScore>(device, in op, statistics, op.Z ?? unwanted!);
    }

    private static void Step<TScore>(GpuDevice device, in Attention op, Tensor z) where TScore : struct, IScore
    {
        (Floats wide, Halves narrow) = device.Views(z);
        int pieces = Math.Max(1, (op.Keys + AttentionPieces.Keys - 1) / AttentionPieces.Keys), causal = op.Causal ? 1 : 0;
        int queries = op.Q.Shape[1], heads = op.Q.Shape[2], kvHeads = op.K.Shape[2], valueSize = op.V.Shape[3];
        long pairs = (long)op.K.Shape[0] * kvHeads;
        int groups = GpuDevice.Groups(pairs * pieces);
        using Tensor? outputs = pieces > 1 ? device.Allocate(ElementType.F32, groups, TensorAttentionStepKernels.OutputNumbers) : null;
        using Tensor? softmaxes = pieces > 1 ? device.Allocate(ElementType.F32, groups, TensorAttentionStepKernels.LaneNumbers) : null;
        Kernel<StepLauncher> step = device.Load<StepLauncher>(TensorAttentionStepKernels.Attend<TScore>);
        step.Launch(
            device.Stream, (groups, step.Threads), device.View<float>(op.Q), device.View<float>(op.K), device.View<float>(op.V),
            device.View<int>(op.Spans), device.CountOf(in op), device.ViewOrEmpty(op.Slopes), device.ViewOrEmpty(op.Sinks),
            Fours(device, outputs), Fours(device, softmaxes), wide, narrow, pieces, queries, heads, kvHeads, op.Q.Shape[3], valueSize,
            op.K.Shape[1], op.Keys, op.Window, causal, op.Scale, op.SoftCap);
        if (pieces > 1)
        {
            Kernel<JoinLauncher> join = device.Load<JoinLauncher>(TensorAttentionStepKernels.Join);
            join.Launch(
                device.Stream, (GpuDevice.Groups(pairs), join.Threads), device.View<int>(op.Spans), device.CountOf(in op),
                device.ViewOrEmpty(op.Sinks), Fours(device, outputs), Fours(device, softmaxes), wide, narrow, pieces, queries, heads, kvHeads,
                valueSize, op.Keys, op.Window, causal);
        }
    }

    /// <summary>A scratch in fours, or an empty view.</summary>
    private static ArrayView<Sum4> Fours(GpuDevice device, Tensor? scratch) =>
        scratch is null ? default : device.Platform.View<Sum4>(scratch.Address, scratch.Shape.Count / 4);

    private static void Attend<TScore>(GpuDevice device, in Attention op, Tensor statistics, Tensor z)
        where TScore : struct, IScore
    {
        int size = Math.Max(op.Q.Shape[3], op.V.Shape[3]);
        if (size <= 64)
        {
            Attend<Head64, Block64, TScore>(device, in op, statistics, z);
        }
        else if (size <= 128 && typeof(TScore) == typeof(PlainScore))
        {
            Attend<Head128, Pair<Block64>, TScore>(device, in op, statistics, z);
        }
        else if (size <= 128)
        {
            Attend<Head128Once, Pair<Block64>, TScore>(device, in op, statistics, z);
        }
        else
        {
            Attend<Head256, Pair<Pair<Block64>>, TScore>(device, in op, statistics, z);
        }
    }

    private static void Attend<THead, TChannels, TScore>(GpuDevice device, in Attention op, Tensor statistics, Tensor z)
        where THead : struct, IHeadShape
        where TChannels : struct, IChannels<TChannels>
        where TScore : struct, IScore
    {
        int channels = default(TChannels).Chunks * 8, aligned = Aligned(op.Q);
        int stages = TensorAttentionKernels.Stages<THead>(channels, device.Platform.GroupBytes);
        int keyChunks = default(THead).Blocks * 4, chunks = keyChunks + channels / 8;
        using Tensor packed = Packed(device, in op, keyChunks, chunks);
        ArrayView<Bits4> rounded = device.Platform.View<Bits4>(packed.Address, packed.Shape.Count / 4);
        (Floats wide, Halves narrow) = device.Views(z);
        Config grid = Grid<THead>(in op, channels, stages);

        // Between the pieces of a long text, groups keep their rows' outputs in memory.
        using Tensor? totals = op.Keys > AttentionPieces.Keys
            ? device.Allocate(ElementType.F32, grid.GridDim.X, TensorAttentionKernels.Rows<THead>(), channels)
            : null;
        Kernel<AttendLauncher> attend = device.Load<AttendLauncher>(TensorAttentionKernels.Attend<THead, TChannels, TScore>);
        attend.Launch(
            device.Stream, grid, device.View<float>(op.Q), rounded, device.View<int>(op.Spans),
            device.CountOf(in op), device.ViewOrEmpty(op.Slopes), device.ViewOrEmpty(op.Sinks), device.View<float>(statistics), Fours(device, totals),
            wide, narrow, op.Q.Shape[1], op.Q.Shape[2], op.K.Shape[2], op.Q.Shape[3], op.V.Shape[3], op.Keys, op.Window,
            op.Causal ? 1 : 0, op.Scale, op.SoftCap, stages, aligned);
        if (op.Scores is not null || op.Pattern is not null)
        {
            Kernel<ObserveLauncher> observe = device.Load<ObserveLauncher>(TensorAttentionKernels.Observe<THead, TScore>);
            observe.Launch(
                device.Stream, Grid<THead>(in op, 0, 1), device.View<float>(op.Q), rounded, device.View<int>(op.Spans),
                device.ViewOrEmpty(op.Slopes), device.View<float>(statistics), device.ViewOrEmpty(op.Scores), device.ViewOrEmpty(op.Pattern),
                op.Q.Shape[1], op.Q.Shape[2], op.K.Shape[2], op.Q.Shape[3], op.Keys, op.Window, op.Causal ? 1 : 0, op.Scale, op.SoftCap,
                op.K.Shape[2] * chunks, aligned);
        }
    }

    /// <summary>A group for each tile of rows, key/value head and sequence.</summary>
    private static Config Grid<THead>(in Attention op, int channels, int stages) where THead : struct, IHeadShape
    {
        int tile = TensorAttentionKernels.Rows<THead>();
        long rows = (long)op.Q.Shape[1] * (op.Q.Shape[2] / op.K.Shape[2]), tiles = (rows + tile - 1) / tile;
        return new Config(
            GpuDevice.Groups(tiles * op.K.Shape[2] * op.Q.Shape[0]), TensorAttentionKernels.Threads,
            SharedMemoryConfig.RequestDynamic<byte>(TensorAttentionKernels.SharedBytes<THead>(channels, stages)));
    }

    /// <summary>Keys and values in BF16, as I32 [batch, keys, heads, chunks, 4].</summary>
    private static Tensor Packed(GpuDevice device, in Attention op, int keyChunks, int chunks)
    {
        int capacity = op.K.Shape[1], heads = op.K.Shape[2];
        Tensor packed = device.Allocate(ElementType.I32, op.K.Shape[0], op.Keys, heads, chunks, 4);
        long count = packed.Shape.Count / 4;
        Kernel<PackLauncher> pack = device.Load<PackLauncher>(TensorAttentionKernels.Pack);
        pack.Launch(
            device.Stream, (GpuDevice.Groups((count + pack.Threads - 1) / pack.Threads), pack.Threads), device.View<float>(op.K),
            device.View<float>(op.V), device.CountOf(in op), capacity, op.Keys, heads, op.K.Shape[3], op.V.Shape[3], keyChunks, chunks, Aligned(op.K),
            Aligned(op.V), count, device.Platform.View<Bits4>(packed.Address, count));
        return packed;
    }

    /// <summary>Whether all heads begin on multiples of 16 bytes: buffers do.</summary>
    private static int Aligned(Tensor heads) => heads.Shape[3] % 4 == 0 && heads.Address % TensorRows.ChunkBytes == 0 ? 1 : 0;
}
