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

    /// <summary>
    /// A group for each row, or for each of several parts of a row as if they were rows; the scratch for the chosen has k elements for each.
    /// </summary>
    /// <param name="x">The rows.</param>
    /// <param name="stride">Elements from one to the next.</param>
    /// <param name="allColumns">Columns of a whole row.</param>
    /// <param name="parts">How many parts a row has.</param>
    /// <param name="k">How many are wanted of each part.</param>
    /// <param name="names">What to call a column; its number where this is empty. Lies as x does, without gaps.</param>
    /// <param name="values">[rows · parts, k].</param>
    /// <param name="indices">[rows · parts, k].</param>
    /// <param name="chosen">[rows · parts, k], for what is in between.</param>
    [Kernel(MostThreads)]
    public static void Select(
        ArrayView<float> x, long stride, int allColumns, int parts, int k, ArrayView<int> names, ArrayView<float> values,
        ArrayView<int> indices, ArrayView<int> chosen)
    {
        ArrayView<int> counts = SharedMemory.Allocate<int>(Bins), found = SharedMemory.Allocate<int>(2);
        ArrayView<int> above = SharedMemory.Allocate<int>(MostThreads + 1), equal = SharedMemory.Allocate<int>(MostThreads + 1);
        int part = Grid.IdxX % parts, first = (int)((long)part * allColumns / parts);
        int columns = (int)((part + 1L) * allColumns / parts) - first;
        long row = Grid.IdxX / parts * stride + first, to = (long)Grid.IdxX * k;
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
                    indices[to + ahead + nextEqual] = Name(names, row, first, i);
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
            indices[to + rank] = Name(names, row, first, column);
        }
    }

    private static int Name(ArrayView<int> names, long row, int first, int column) =>
        names.Length != 0 ? names[row + column] : first + column;
}
