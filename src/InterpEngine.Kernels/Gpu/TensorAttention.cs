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
        Queue queue, Config config, Floats q, Floats k, Floats v, Ints spans, Floats slopes, Floats sinks, Floats statistics, Floats z,
        int queries, int heads, int kvHeads, int size, int valueSize, int capacity, int keys, int window, int causal, float scale, float cap,
        int parts, int aligned);

    private delegate void ObserveLauncher(
        Queue queue, Config config, Floats q, Floats k, Ints spans, Floats slopes, Floats statistics, Floats scores, Floats pattern,
        int queries, int heads, int kvHeads, int size, int capacity, int keys, int window, int causal, float scale, float cap, int aligned);

    /// <summary>Whether the op is made here. It depends on shapes and options that a sequence's company does not change.</summary>
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
        using Tensor? unwanted = op.Z is null ? device.Allocate(ElementType.F32, batch, queries, heads, op.V.Shape[3]) : null;
        if (op.V.Shape[3] <= 64)
        {
            Attend<Block64>(device, in op, statistics, op.Z ?? unwanted!);
        }
        else
        {
            Attend<Pair<Block64>>(device, in op, statistics, op.Z ?? unwanted!);
        }

        if (op.Scores is not null || op.Pattern is not null)
        {
            Kernel<ObserveLauncher> observe = device.Load<ObserveLauncher>(TensorAttentionKernels.Observe);
            observe.Launch(
                device.Stream, Grid(Tiles(in op) * kvHeads * batch, observe.Threads, op.Q.Shape[3], 0),
                device.View<float>(op.Q), device.View<float>(op.K), device.View<int>(op.Spans), device.ViewOrEmpty(op.Slopes),
                device.View<float>(statistics), device.ViewOrEmpty(op.Scores), device.ViewOrEmpty(op.Pattern), queries, heads, kvHeads,
                op.Q.Shape[3], op.K.Shape[1], op.Keys, op.Window, op.Causal ? 1 : 0, op.Scale, op.SoftCap, Aligned(in op));
        }
    }

    private static void Attend<TChannels>(GpuDevice device, in Attention op, Tensor statistics, Tensor z)
        where TChannels : struct, IChannels<TChannels>
    {
        int channels = default(TChannels).Chunks * 8, parts = Math.Max(1, (op.V.Shape[3] + channels - 1) / channels);
        Kernel<AttendLauncher> attend = device.Load<AttendLauncher>(TensorAttentionKernels.Attend<TChannels>);
        attend.Launch(
            device.Stream, Grid(Tiles(in op) * parts * op.K.Shape[2] * op.Q.Shape[0], attend.Threads, op.Q.Shape[3], channels),
            device.View<float>(op.Q), device.View<float>(op.K), device.View<float>(op.V), device.View<int>(op.Spans),
            device.ViewOrEmpty(op.Slopes), device.ViewOrEmpty(op.Sinks), device.View<float>(statistics), device.View<float>(z),
            op.Q.Shape[1], op.Q.Shape[2], op.K.Shape[2], op.Q.Shape[3], op.V.Shape[3], op.K.Shape[1], op.Keys, op.Window,
            op.Causal ? 1 : 0, op.Scale, op.SoftCap, parts, Aligned(in op));
    }

    private static long Tiles(in Attention op)
    {
        long rows = (long)op.Q.Shape[1] * (op.Q.Shape[2] / op.K.Shape[2]);
        return (rows + TensorAttentionKernels.TileRows - 1) / TensorAttentionKernels.TileRows;
    }

    private static Config Grid(long groups, int threads, int size, int channels) => new(
        GpuDevice.Groups(groups), threads,
        SharedMemoryConfig.RequestDynamic<Bits4>(TensorAttentionKernels.SharedBytes(size, channels) / TensorRows.ChunkBytes));

    /// <summary>Whether all rows begin on multiples of 16 bytes: buffers do.</summary>
    private static int Aligned(in Attention op) =>
        op.Q.Shape[3] % 4 == 0 && op.V.Shape[3] % 4 == 0 && (op.Q.Address | op.K.Address | op.V.Address) % TensorRows.ChunkBytes == 0 ? 1 : 0;
}
