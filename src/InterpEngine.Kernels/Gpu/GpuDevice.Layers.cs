using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Halves = ILGPU.ArrayView<ushort>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    private delegate void NormLauncher(
        Queue queue, Config config, Floats x, long xStride, int rows, int columns, int centred, float epsilon, Floats gain, Floats bias,
        Floats givenScale, Floats given, long givenStride, Floats scaleOut, Floats normalized, long normalizedStride, Floats residual,
        long residualStride, Floats delta, long deltaStride, Floats output, Halves narrow, long outputStride);

    private delegate void RotateLauncher(
        Queue queue, Config config, Floats x0, Floats output0, int heads0, Floats x1, Floats output1, int heads1, Ints positions, Floats cos,
        Floats sin, int size, int pairs, int tableRows, int start, int pairing, int blocks, Ints faults);

    private delegate void AttentionLauncher(
        Queue queue, Config config, Floats q, Floats k, Floats v, Ints spans, Ints keyCount, Floats given, int kind, Floats slopes, Floats sinks,
        Floats scores, Floats pattern, Floats z, Halves zNarrow, int queries, int heads, int kvHeads, int size, int valueSize, int capacity, int keys,
        int window, int causal, float scale, float cap);

    /// <inheritdoc/>
    protected override void Execute(in Norm op)
    {
        // How wide a row is decides how its sums are made, and nothing else may.
        int warp = _platform.Accelerator.WarpSize;
        bool byWarps = op.X.Columns * sizeof(float) <= warp * NormKernels.MostOfLane;
        bool aligned = AreAligned(op.Gain, op.Bias)
            && IsAligned(op.X.Columns, op.X, op.GivenNormalized, op.Normalized, op.Residual, op.Delta, op.Out);
        Kernel<NormLauncher> kernel = (byWarps, aligned) switch
        {
            (true, true) => Load<NormLauncher>(NormKernels.Normalize<WarpTeam, AtOnce>),
            (true, false) => Load<NormLauncher>(NormKernels.Normalize<WarpTeam, OneByOne>),
            (false, true) => Load<NormLauncher>(NormKernels.Normalize<GroupTeam, AtOnce>),
            (false, false) => Load<NormLauncher>(NormKernels.Normalize<GroupTeam, OneByOne>),
        };
        if (op.X.Rows > 0)
        {
            int rowsAtOnce = byWarps ? kernel.Threads / warp : 1;
            (Floats output, Halves narrow) = op.Out is { } to ? Views(to) : default;
            kernel.Launch(
                Stream, (Groups((op.X.Rows + rowsAtOnce - 1L) / rowsAtOnce), kernel.Threads), View(op.X), op.X.Stride, op.X.Rows,
                op.X.Columns, op.Kind == NormKind.Layer ? 1 : 0, op.Epsilon, ViewOrEmpty(op.Gain), ViewOrEmpty(op.Bias),
                ViewOrEmpty(op.GivenScale), ViewOrEmpty(op.GivenNormalized), op.GivenNormalized?.Stride ?? 0, ViewOrEmpty(op.Scale),
                ViewOrEmpty(op.Normalized), op.Normalized?.Stride ?? 0, ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0,
                ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, output, narrow, op.Out?.Stride ?? 0);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Rotary op)
    {
        Rotate(in op, null);
        Finish(in op);
    }

    /// <summary>Rotates heads, and those of another op that differs in them alone.</summary>
    private void Rotate(in Rotary op, Rotary? other)
    {
        int size = op.X.Shape[^1], heads = op.X.Shape[^2], otherHeads = other?.X.Shape[^2] ?? 0;
        if (op.Tokens == 0)
        {
            return;
        }

        Kernel<RotateLauncher> kernel = Load<RotateLauncher>(RotaryKernels.Rotate);
        int blocks = Blocks((heads + (long)otherHeads) * Math.Max(1, size - op.Cos.Shape[1]), kernel.Threads);
        kernel.Launch(
            Stream, (Groups((long)op.Tokens * blocks), kernel.Threads), View<float>(op.X), View<float>(op.Out), heads,
            ViewOrEmpty(other?.X), ViewOrEmpty(other?.Out), otherHeads, View<int>(op.Positions), View<float>(op.Cos), View<float>(op.Sin),
            size, op.Cos.Shape[1], op.Cos.Shape[0], op.Start, (int)op.Pairs, blocks, Faults);
    }

    /// <summary>How many keys there are, where only the device knows; else an empty view.</summary>
    internal Ints CountOf(in Attention op) => op.KeyCount is null ? default : View<int>(op.KeyCount);

    /// <inheritdoc/>
    protected override void Execute(in Attention op)
    {
        int queries = op.Q.Shape[1], heads = op.Q.Shape[2];
        long rows = (long)op.Q.Shape[0] * queries * heads;
        int kind = op.GivenPattern is not null ? AttentionKernels.GivenPattern : op.GivenScores is not null ? AttentionKernels.GivenScores : 0;
        if (rows == 0)
        {
            // Nothing is asked.
        }
        else if (Options.Bf16Attention && TensorAttention.Accepts(_platform, in op))
        {
            TensorAttention.Run(this, in op);
        }
        else if (StagedAttention.Of(this, in op) is { } staged)
        {
            staged.Run();
        }
        else
        {
            Kernel<AttentionLauncher> kernel = Load<AttentionLauncher>(AttentionKernels.Attend);
            (Floats z, Halves zNarrow) = op.Z is null ? default : Views(op.Z);
            kernel.Launch(
                Stream, (Groups(rows), kernel.Threads), View<float>(op.Q), View<float>(op.K), View<float>(op.V),
                View<int>(op.Spans), CountOf(in op), ViewOrEmpty(op.GivenPattern ?? op.GivenScores), kind, ViewOrEmpty(op.Slopes), ViewOrEmpty(op.Sinks),
                ViewOrEmpty(op.Scores), ViewOrEmpty(op.Pattern), z, zNarrow, queries, heads, op.K.Shape[2], op.Q.Shape[3],
                op.V.Shape[3], op.K.Shape[1], op.Keys, op.Window, op.Causal ? 1 : 0, op.Scale, op.SoftCap);
        }

        Finish(in op);
    }
}
