using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Algorithms.ScanReduceOperations;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// The k largest of each row by radix selection: three rounds of counting find the k-th largest and how many of its equals belong;
/// each thread then collects from columns of its own, in order, so that the lower index wins without any race.
/// </summary>
internal static class TopKKernels
{
    // 32 bits in three rounds of 11, 11 and 10: the first has the exponent and two bits more, so that the numbers of a row, which
    // are close to each other, are counted in different places.
    private const int Bits = 11, Bins = 1 << Bits;
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
        int first = First(Grid.IdxX % parts, parts, allColumns), columns = First(Grid.IdxX % parts + 1, parts, allColumns) - first;
        long row = Grid.IdxX / parts * stride + first, to = (long)Grid.IdxX * k;
        int thread = Group.IdxX, threads = Group.DimX, wanted = k;
        uint prefix = 0, mask = 0;
        for (int shift = 32 - Bits; shift > -Bits; shift -= Bits)
        {
            int down = IntrinsicMath.Max(shift, 0);
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
                    Atomic.Add(ref counts[(int)(key >> down & (Bins - 1))], 1);
                }
            }

            Group.Barrier();
            Find(counts, wanted, found);
            Group.Barrier();
            prefix |= (uint)found[0] << down;
            mask |= (uint)(Bins - 1) << down;
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

        int ahead = k - wanted, next = Before(larger), nextEqual = Before(same);
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

    /// <summary>The largest alone, a group for each row or part of a row as in <see cref="Select"/>.</summary>
    [Kernel(MostThreads)]
    public static void Largest(
        ArrayView<float> x, long stride, int allColumns, int parts, ArrayView<int> names, ArrayView<float> values, ArrayView<int> indices)
    {
        ArrayView<ulong> scratch = SharedMemory.Allocate<ulong>(GroupTree.Scratch);
        int first = First(Grid.IdxX % parts, parts, allColumns), columns = First(Grid.IdxX % parts + 1, parts, allColumns) - first;
        long row = Grid.IdxX / parts * stride + first;
        ulong best = 0;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            best = IntrinsicMath.Max(best, (ulong)Elementary.Order(x[row + i]) << 32 | (uint)(int.MaxValue - i));
        }

        best = GroupTree.Max(best, scratch);
        if (Group.IdxX == 0)
        {
            int column = int.MaxValue - (int)(best & 0xffffffffu);
            values[Grid.IdxX] = x[row + column];
            indices[Grid.IdxX] = Name(names, row, first, column);
        }
    }

    private static int First(int part, int parts, int columns) => (int)((long)part * columns / parts);

    /// <summary>The bin of the wanted-th largest, and how many of that bin are wanted.</summary>
    private static void Find(ArrayView<int> counts, int wanted, ArrayView<int> found)
    {
        // Thread t has the t-th highest of the group's shares of the bins.
        int share = Bins / Group.DimX, top = Bins - 1 - Group.IdxX * share, own = 0;
        for (int i = 0; i < share; i++)
        {
            own += counts[top - i];
        }

        int left = wanted - Before(own);
        if (left > 0 && left <= own)
        {
            int bin = top;
            while (counts[bin] < left)
            {
                left -= counts[bin];
                bin--;
            }

            found[0] = bin;
            found[1] = left;
        }
    }

    /// <summary>The sum of what the threads before this one have.</summary>
    private static int Before(int own)
    {
        Group.Barrier(); // two scans in a row share their memory
        return GroupExtensions.ExclusiveScan<int, AddInt32>(own);
    }

    private static int Name(ArrayView<int> names, long row, int first, int column) =>
        names.Length != 0 ? names[row + column] : first + column;
}
