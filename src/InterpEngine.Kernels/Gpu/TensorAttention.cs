using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;
using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

/// <summary>Attention in BF16 on tensor cores, for all options but given scores and patterns.</summary>
internal static class TensorAttention
{
    private delegate void AttendLauncher(
        Queue queue, Config config, Floats q, ArrayView<Bits4> k, ArrayView<Bits4> v, Ints spans, Floats slopes, Floats sinks,
        Floats statistics, Floats z, int queries, int heads, int kvHeads, int size, int valueSize, int keys, int window,
        int causal, float scale, float cap, int parts, int stages, int aligned);

    private delegate void ObserveLauncher(
        Queue queue, Config config, Floats q, ArrayView<Bits4> k, Ints spans, Floats slopes, Floats statistics, Floats scores,
        Floats pattern, int queries, int heads, int kvHeads, int size, int keys, int window, int causal, float scale, float cap,
        int aligned);

    /// <summary>Whether the op is made here. It depends on shapes and options that a sequence's company does not
    /// change.</summary>
    public static bool Accepts(GpuPlatform platform, in Attention op) =>
        TensorProduct.RunsOn(platform) && op.GivenScores is null && op.GivenPattern is null
        && op.Q.Shape[3] <= TensorAttentionKernels.LargestSize;

    public static void Run(GpuDevice device, in Attention op)
    {
        int batch = op.Q.Shape[0], queries = op.Q.Shape[1], heads = op.Q.Shape[2], kvHeads = op.K.Shape[2];
        if ((long)batch * queries * heads == 0)
        {
            return;
        }

        using Tensor statistics = device.Allocate(ElementType.F32, batch, queries, heads, 2);
        using Tensor k = Rounded(device, op.K, op.Keys), v = Rounded(device, op.V, op.Keys);
        using Tensor? unwanted = op.Z is null ? device.Allocate(ElementType.F32, batch, queries, heads, op.V.Shape[3]) : null;
        if (op.V.Shape[3] <= 64)
        {
            Attend<Block64>(device, in op, k, v, statistics, op.Z ?? unwanted!);
        }
        else
        {
            Attend<Pair<Block64>>(device, in op, k, v, statistics, op.Z ?? unwanted!);
        }

        if (op.Scores is not null || op.Pattern is not null)
        {
            Kernel<ObserveLauncher> observe = device.Load<ObserveLauncher>(TensorAttentionKernels.Observe);
            observe.Launch(
                device.Stream, Grid(Tiles(in op) * kvHeads * batch, observe.Threads, op.Q.Shape[3], 0, 1),
                device.View<float>(op.Q), Chunks(device, k), device.View<int>(op.Spans), device.ViewOrEmpty(op.Slopes),
                device.View<float>(statistics), device.ViewOrEmpty(op.Scores), device.ViewOrEmpty(op.Pattern), queries, heads,
                kvHeads, op.Q.Shape[3], op.Keys, op.Window, op.Causal ? 1 : 0, op.Scale, op.SoftCap, Aligned(op.Q));
        }
    }

    private static void Attend<TChannels>(GpuDevice device, in Attention op, Tensor k, Tensor v, Tensor statistics, Tensor z)
        where TChannels : struct, IChannels<TChannels>
    {
        int channels = default(TChannels).Chunks * 8, parts = Math.Max(1, (op.V.Shape[3] + channels - 1) / channels);
        int stages = TensorAttentionKernels.Stages(op.Q.Shape[3], channels);
        Kernel<AttendLauncher> attend = device.Load<AttendLauncher>(TensorAttentionKernels.Attend<TChannels>);
        attend.Launch(
            device.Stream, Grid(Tiles(in op) * parts * op.K.Shape[2] * op.Q.Shape[0], attend.Threads, op.Q.Shape[3], channels,
            stages), device.View<float>(op.Q), Chunks(device, k), Chunks(device, v), device.View<int>(op.Spans),
            device.ViewOrEmpty(op.Slopes), device.ViewOrEmpty(op.Sinks), device.View<float>(statistics), device.View<float>(z),
            op.Q.Shape[1], op.Q.Shape[2], op.K.Shape[2], op.Q.Shape[3], op.V.Shape[3], op.Keys, op.Window, op.Causal ? 1 : 0,
            op.Scale, op.SoftCap, parts, stages, Aligned(op.Q));
    }

    private static long Tiles(in Attention op)
    {
        long rows = (long)op.Q.Shape[1] * (op.Q.Shape[2] / op.K.Shape[2]);
        return (rows + TensorAttentionKernels.TileRows - 1) / TensorAttentionKernels.TileRows;
    }

    private static Config Grid(long groups, int threads, int size, int channels, int stages) => new(
        GpuDevice.Groups(groups), threads,
        SharedMemoryConfig.RequestDynamic<byte>(TensorAttentionKernels.SharedBytes(size, channels, stages)));

    /// <summary>The keys of a cache that are there, in BF16: I32 [batch, keys, heads, chunks, 4].</summary>
    private static Tensor Rounded(GpuDevice device, Tensor cache, int keys)
    {
        (int batch, int capacity, int heads, int size) = (cache.Shape[0], cache.Shape[1], cache.Shape[2], cache.Shape[3]);
        int chunks = TensorRows.Chunks(size, 2);
        Tensor rounded = device.Allocate(ElementType.I32, batch, keys, heads, chunks, 4);
        long count = rounded.Shape.Count / 4;
        if (count > 0)
        {
            var round = device.Load<Action<Queue, Config, Floats, int, int, int, int, int, int, int, ArrayView<Bits4>>>(
                TensorAttentionKernels.RoundKeys);
            round.Launch(
                device.Stream, (GpuDevice.Groups((count + round.Threads - 1) / round.Threads), round.Threads),
                device.View<float>(cache), batch, capacity, keys, heads, size, chunks, Aligned(cache), Chunks(device, rounded));
        }

        return rounded;
    }

    private static ArrayView<Bits4> Chunks(GpuDevice device, Tensor rounded) =>
        device.Platform.View<Bits4>(rounded.Address, rounded.Shape.Count / 4);

    /// <summary>Whether all heads begin on multiples of 16 bytes: buffers do.</summary>
    private static int Aligned(Tensor heads) => heads.Shape[3] % 4 == 0 && heads.Address % TensorRows.ChunkBytes == 0 ? 1 : 0;
}
