using InterpEngine.Kernels.Gpu.Kernels;
using Config = ILGPU.KernelConfig;
using Floats = ILGPU.ArrayView<float>;
using Ints = ILGPU.ArrayView<int>;
using Queue = ILGPU.Runtime.AcceleratorStream;
using Words = ILGPU.ArrayView<uint>;

namespace InterpEngine.Kernels.Gpu;

public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Route op)
    {
        int rows = op.Logits.Rows, experts = op.Logits.Columns, k = op.Weights.Shape[1];
        Floats logits = View(op.Logits), weights = View<float>(op.Weights);
        Ints indices = View<int>(op.Indices);
        if (rows > 0)
        {
            using Tensor keys = Allocate(ElementType.I32, rows, experts);
            Words words = _platform.View<uint>(keys.Address, keys.Shape.Count);
            int renormalize = op.Renormalize ? 1 : 0;
            if (op.Score == RouterScore.Softmax)
            {
                var kernel = Load<Action<Queue, Config, Floats, long, int, int, int, float, Words, Ints, Floats>>(RouteKernels.Softmax);
                kernel.Launch(
                    Stream, (rows, kernel.Threads), logits, op.Logits.Stride, experts, k, renormalize, op.Factor, words, indices, weights);
            }
            else
            {
                using Tensor scores = Allocate(ElementType.F32, rows, experts), worths = Allocate(ElementType.F32, rows, op.Groups);
                using Tensor chosen = Allocate(ElementType.I32, rows, k);
                Kernel<SigmoidLauncher> kernel = Load<SigmoidLauncher>(RouteKernels.Sigmoid);
                kernel.Launch(
                    Stream, (rows, kernel.Threads), logits, op.Logits.Stride, ViewOrEmpty(op.ChoiceBias), experts, k, op.Groups,
                    op.ChosenGroups, renormalize, op.Factor, words, View<float>(scores), View<float>(worths), View<int>(chosen), indices,
                    weights);
            }
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in GatherRows op)
    {
        Floats from = View(op.From), output = View(op.Out);
        if (output.Length > 0)
        {
            var kernel = Load<Action<Queue, Config, Floats, long, int, Ints, int, Floats, long, Ints>>(TableKernels.Gather);
            kernel.Launch(
                Stream, (op.Out.Rows, kernel.Threads), from, op.From.Stride, op.From.Rows, View<int>(op.Indices), op.Out.Columns, output,
                op.Out.Stride, Faults);
        }

        Finish(in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in CombineRows op)
    {
        Floats x = View(op.X), output = View(op.Out);
        if (output.Length > 0)
        {
            Kernel<CombineLauncher> kernel = Load<CombineLauncher>(TableKernels.Combine);
            kernel.Launch(
                Stream, (op.Out.Rows, kernel.Threads), x, op.X.Stride, op.X.Rows, View<int>(op.Indices), View<float>(op.Weights),
                op.Weights.Shape[1], op.Out.Columns, ViewOrEmpty(op.Residual), op.Residual?.Stride ?? 0, ViewOrEmpty(op.Delta),
                op.Delta?.Stride ?? 0, output, op.Out.Stride, Faults);
        }

        Finish(in op);
    }

    private delegate void SigmoidLauncher(
        Queue queue, Config config, Floats logits, long stride, Floats bias, int experts, int k, int groups, int chosenGroups,
        int renormalize, float factor, Words keys, Floats scores, Floats worths, Ints chosen, Ints indices, Floats weights);

    private delegate void CombineLauncher(
        Queue queue, Config config, Floats x, long xStride, int xRows, Ints indices, Floats weights, int k, int columns, Floats residual,
        long residualStride, Floats delta, long deltaStride, Floats output, long stride, Ints faults);
}
