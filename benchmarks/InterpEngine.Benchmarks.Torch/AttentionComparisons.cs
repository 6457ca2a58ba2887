using InterpEngine.Kernels;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = InterpEngine.Kernels.Tensor;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Causal attention over long contexts against libtorch's fused one: time, and the growth of memory.</summary>
internal static class AttentionComparisons
{
    private const int Heads = 12, Size = 64;

    public static void Run(Session session)
    {
        foreach (int length in (int[])[4096, 8192])
        {
            long count = (long)length * Heads * Size;
            float[] values = RandomData.Array(3 * count);
            Tensor Part(int part) => session.Device.Upload<float>(values.AsSpan((int)(part * count), (int)count), 1, length, Heads, Size);
            torch.Tensor TorchPart(int part)
            {
                using torch.Tensor flat = tensor(values.AsSpan((int)(part * count), (int)count).ToArray(), [1, length, Heads, Size]);
                using torch.Tensor turned = flat.transpose(1, 2);
                return turned.contiguous();
            }

            using Tensor q = Part(0), k = Part(1), v = Part(2), z = session.Device.Allocate(ElementType.F32, 1, length, Heads, Size);
            using Tensor spans = session.Device.Upload<int>([0, length], 1, 2);
            using torch.Tensor torchQ = TorchPart(0), torchK = TorchPart(1), torchV = TorchPart(2);
            var op = new Attention { Q = q, K = k, V = v, Keys = length, Spans = spans, Scale = 0.125f, Z = z };
            void Ours() => session.Device.Run(op);
            void Theirs()
            {
                using IDisposable mode = inference_mode(true);
                F.scaled_dot_product_attention(torchQ, torchK, torchV, is_casual: true).Dispose();
            }

            session.Memory.Add(($"attention over {length} tokens, beyond inputs (peak of the process)", PeakMemory.Of(Ours), PeakMemory.Of(Theirs)));
            session.Measure(new Comparison(
                $"attention over {length} tokens, 12 heads of 64", "libtorch, fused attention", length == 8192 ? 1.3 : null, Ours, Theirs)
            {
                OfPeak = (2.0 * length * length * Heads * Size, 0),
            });
        }
    }
}
