using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Rotary position embedding.</summary>
internal static class RotaryKernels
{
    /// <summary>
    /// A group for each token. Threads take pairs of channels, so that each is read before it is written, then the channels that are
    /// not rotated.
    /// </summary>
    [Kernel(128)]
    public static void Rotate(
        ArrayView<float> x, ArrayView<float> output, ArrayView<int> positions, ArrayView<float> cos, ArrayView<float> sin, int heads,
        int size, int pairs, int tableRows, int start, int pairing, ArrayView<int> faults)
    {
        long token = (long)Grid.IdxX * heads * size;
        int position = TableKernels.Checked(positions[Grid.IdxX], tableRows, (int)IndexedOp.Rotary, faults);
        int rotated = position < 0 ? 0 : pairs, tasks = size - pairs;
        if (position < 0)
        {
            tasks = size;
        }

        // A head's tasks: its pairs, then its channels outside them.
        for (int task = Group.IdxX; task < heads * tasks; task += Group.DimX)
        {
            long head = token + (long)(task / tasks) * size;
            int i = task % tasks;
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
}
