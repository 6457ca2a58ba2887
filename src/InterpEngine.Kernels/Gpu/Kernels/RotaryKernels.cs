using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Rotary position embedding.</summary>
internal static class RotaryKernels
{
    /// <summary>
    /// Groups for each token share the tasks of its heads: those of one tensor, then those of another, which may have none. A task is a
    /// pair of channels, so that each is read before it is written, or a channel that is not rotated.
    /// </summary>
    [Kernel(128)]
    public static void Rotate(
        ArrayView<float> x0, ArrayView<float> output0, int heads0, ArrayView<float> x1, ArrayView<float> output1, int heads1,
        ArrayView<int> positions, ArrayView<float> cos, ArrayView<float> sin, int size, int pairs, int tableRows, int start, int pairing,
        int blocks, ArrayView<int> faults)
    {
        int token = Grid.IdxX / blocks;
        int position = TableKernels.Checked(positions[token], tableRows, (int)IndexedOp.Rotary, faults);
        int rotated = position < 0 ? 0 : pairs, tasks = position < 0 ? size : size - pairs;
        for (int task = Grid.IdxX % blocks * Group.DimX + Group.IdxX; task < (heads0 + heads1) * tasks; task += blocks * Group.DimX)
        {
            int head = task / tasks, i = task % tasks;
            if (head < heads0)
            {
                Rotate(x0, output0, ((long)token * heads0 + head) * size, cos, sin, position, i, rotated, pairs, start, pairing);
            }
            else
            {
                Rotate(x1, output1, ((long)token * heads1 + head - heads0) * size, cos, sin, position, i, rotated, pairs, start, pairing);
            }
        }
    }

    /// <summary>A head's tasks: its pairs, then its channels outside them.</summary>
    private static void Rotate(
        ArrayView<float> x, ArrayView<float> output, long head, ArrayView<float> cos, ArrayView<float> sin, int position, int i, int rotated,
        int pairs, int start, int pairing)
    {
        if (i >= rotated)
        {
            int channel = position < 0 ? i : i - pairs;
            channel = position >= 0 && channel >= start ? channel + 2 * pairs : channel;
            output[head + channel] = x[head + channel];
        }
        else
        {
            bool halves = pairing == (int)RotaryPairs.Halves, apart = pairing != (int)RotaryPairs.Interleaved;
            int fromA = start + (halves ? i : 2 * i), fromB = start + (halves ? i + pairs : 2 * i + 1);
            int toA = start + (apart ? i : 2 * i), toB = start + (apart ? i + pairs : 2 * i + 1);
            long angle = (long)position * pairs + i;
            float a = x[head + fromA], b = x[head + fromB], c = cos[angle], s = sin[angle];
            output[head + toA] = Ptx.Fma(-b, s, a * c);
            output[head + toB] = Ptx.Fma(a, s, b * c);
        }
    }
}
