using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    private delegate void NormLauncher(
        Queue queue, Config config, Floats x, long xStride, int columns, int centred, float epsilon, Floats gain, Floats bias,
        Floats givenScale, Floats given, long givenStride, Floats scaleOut, Floats normalized, long normalizedStride, Floats residual,
        long residualStride, Floats delta, long deltaStride, Floats output, long outputStride);

    private delegate void AttentionLauncher(
        Queue queue, Config config, Floats q, Floats k, Floats v, Ints spans, Floats given, int kind, Floats slopes, Floats sinks,
        Floats scores, Floats pattern, Floats z, int queries, int heads, int kvHeads, int size, int valueSize, int capacity, int keys,
        int window, int causal, float scale, float cap);

    /// <inheritdoc/>
    protected override void Execute(in Norm op)
    {
        Kernel<NormLauncher> kernel = Load<NormLauncher>(NormKernels.Normalize);
        Floats x = View(op.X), given = ViewOrEmpty(op.GivenNormalized), normalized = ViewOrEmpty(op.Normalized), output = ViewOrEmpty(op.Out);
        if (op.X.Rows > 0)
        {
            kernel.Launch(
                Stream, (op.X.Rows, kernel.Threads), x, op.X.Stride, op.X.Columns, op.Kind == NormKind.Layer ? 1 : 0, op.Epsilon,
                ViewOrEmpty(op.Gain), ViewOrEmpty(op.Bias), ViewOrEmpty(op.GivenScale), given, op.GivenNormalized?.Stride ?? 0,
                ViewOrEmpty(op.Scale), normalized, op.Normalized?.Stride ?? 0, ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0,
                ViewOrEmpty(op.Delta), op.Delta?.Stride ?? 0, output, op.Out?.Stride ?? 0);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Rotary op)
    {
        Floats x = View<float>(op.X), output = View<float>(op.Out);
        if (op.Tokens > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, Floats, Ints, Floats, Floats, int, int, int, int, int, int, Ints>>(
                RotaryKernels.Rotate);
            kernel.Launch(
                Stream, (op.Tokens, kernel.Threads), x, output, View<int>(op.Positions), View<float>(op.Cos), View<float>(op.Sin),
                op.X.Shape[^2], op.X.Shape[^1], op.Cos.Shape[1], op.Cos.Shape[0], op.Start, (int)op.Pairs, Faults);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Attention op)
    {
        int batch = op.Q.Shape[0], queries = op.Q.Shape[1], heads = op.Q.Shape[2];
        int kind = op.GivenPattern is not null ? AttentionKernels.GivenPattern : op.GivenScores is not null ? AttentionKernels.GivenScores : 0;
        if (Options.Bf16Attention && TensorAttention.Accepts(_platform, in op))
        {
            TensorAttention.Run(this, in op);
        }
        else if ((long)batch * queries * heads > 0)
        {
            Kernel<AttentionLauncher> kernel = Load<AttentionLauncher>(AttentionKernels.Attend);
            kernel.Launch(
                Stream, (Groups((long)batch * heads * queries), kernel.Threads), View<float>(op.Q), View<float>(op.K), View<float>(op.V),
                View<int>(op.Spans), ViewOrEmpty(op.GivenPattern ?? op.GivenScores), kind, ViewOrEmpty(op.Slopes), ViewOrEmpty(op.Sinks),
                ViewOrEmpty(op.Scores), ViewOrEmpty(op.Pattern), ViewOrEmpty(op.Z), queries, heads, op.K.Shape[2], op.Q.Shape[3],
                op.V.Shape[3], op.K.Shape[1], op.Keys, op.Window, op.Causal ? 1 : 0, op.Scale, op.SoftCap);
        }

        Finish(in op);
    }
}
