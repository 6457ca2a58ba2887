using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// The k largest of each row by radix selection: four rounds of counting find the k-th largest and how many of its equals belong;
/// each thread then collects from columns of its own, in order, so that the lower index wins without any race.
/// </summary>
internal static class TopKKernels
{
    private const int Bins = 256;
    private const int MostThreads = 256;

    /// <summary>A group for each row; the scratch for the chosen is [rows, k].</summary>
    [Kernel(MostThreads)]
    public static void Select(
        ArrayView<float> x, long stride, int columns, int k, ArrayView<float> values, ArrayView<int> indices, ArrayView<int> chosen)
    {
        ArrayView<int> counts = SharedMemory.Allocate<int>(Bins), found = SharedMemory.Allocate<int>(2);
        ArrayView<int> above = SharedMemory.Allocate<int>(MostThreads + 1), equal = SharedMemory.Allocate<int>(MostThreads + 1);
        long row = Grid.IdxX * stride, to = (long)Grid.IdxX * k;
        int thread = Group.IdxX, threads = Group.DimX, wanted = k;
        uint prefix = 0, mask = 0;
        for (int shift = 24; shift >= 0; shift -= 8)
        {
            for (int bin = thread; bin < Bins; bin += threads)
            {
                counts[bin] = 0;
            }

            Group.Barrier();
            for (int i = thread; i < columns; i += threads)
            {
                uint key = Elementary.Order(x[row + i]);
                if ((key & mask) == prefix)
                {
                    Atomic.Add(ref counts[(int)(key >> shift & 255)], 1);
                }
            }

            Group.Barrier();
            if (thread == 0)
            {
                int bin = Bins - 1, left = wanted;
                while (bin > 0 && counts[bin] < left)
                {
                    left -= counts[bin];
                    bin--;
                }

                found[0] = bin;
                found[1] = left;
            }

            Group.Barrier();
            prefix |= (uint)found[0] << shift;
            mask |= 255u << shift;
            wanted = found[1];
            Group.Barrier();
        }

        // Each thread's own columns, and how many before them are above the k-th largest or equal to it.
        int share = (columns + threads - 1) / threads;
        int start = IntrinsicMath.Min(columns, thread * share), end = IntrinsicMath.Min(columns, start + share);
        int larger = 0, same = 0;
        for (int i = start; i < end; i++)
        {
            uint key = Elementary.Order(x[row + i]);
            larger += key > prefix ? 1 : 0;
            same += key == prefix ? 1 : 0;
        }

        above[thread + 1] = larger;
        equal[thread + 1] = same;
        Group.Barrier();
        if (thread == 0)
        {
            above[0] = 0;
            equal[0] = 0;
            for (int i = 0; i < threads; i++)
            {
                above[i + 1] += above[i];
                equal[i + 1] += equal[i];
            }
        }

        Group.Barrier();
        int ahead = k - wanted, next = above[thread], nextEqual = equal[thread];
        for (int i = start; i < end; i++)
        {
            uint key = Elementary.Order(x[row + i]);
            if (key > prefix)
            {
                chosen[to + next] = i;
                next++;
            }
            else if (key == prefix)
            {
                if (nextEqual < wanted)
                {
                    values[to + ahead + nextEqual] = x[row + i];
                    indices[to + ahead + nextEqual] = i;
                }

                nextEqual++;
            }
        }

        Group.Barrier();

        // The equal ones are in place; those above go where as many are larger, or as large and further to the left.
        for (int i = thread; i < ahead; i += threads)
        {
            int column = chosen[to + i], rank = 0;
            uint key = Elementary.Order(x[row + column]);
            for (int j = 0; j < ahead; j++)
            {
                uint other = Elementary.Order(x[row + chosen[to + j]]);
                rank += other > key || (other == key && j < i) ? 1 : 0;
            }

            values[to + rank] = x[row + column];
            indices[to + rank] = column;
        }
    }
}
