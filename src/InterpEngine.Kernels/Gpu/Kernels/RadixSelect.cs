using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Algorithms.ScanReduceOperations;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Numbers to choose the largest of: 0 for what may not be chosen.</summary>
internal interface IKeys
{
    uint At(int i);
}

/// <summary>Keys above <see cref="Key"/> are among the largest, and the first <see cref="Ties"/> of those equal to it.</summary>
internal struct Cut
{
    public uint Key;
    public int Ties;
}

/// <summary>
/// Where the k largest of many numbers begin, by three rounds of counting, and how threads that collect them find their places: each has
/// neighbours of its own, so that the lower index wins without any race. All threads of a group must call.
/// </summary>
internal static class RadixSelect
{
    // 32 bits in three rounds of 11, 11 and 10: the first has the exponent and two bits more, so that numbers that are close to each
    // other are counted in different places.
    public const int Bits = 11, Bins = 1 << Bits;

    /// <summary>Elements of <c>found</c>.</summary>
    public const int Found = 2;

    /// <summary>The cut of the k-th largest; all keys but 0 are above it where there are fewer.</summary>
    public static Cut Find<TKeys>(TKeys keys, int count, int k, ArrayView<int> counts, ArrayView<int> found)
        where TKeys : struct, IKeys
    {
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
            for (int i = thread; i < count; i += threads)
            {
                uint key = keys.At(i);
                if ((key & mask) == prefix)
                {
                    Atomic.Add(ref counts[Bin(key, down)], 1);
                }
            }

            Group.Barrier();
            FindBin(counts, wanted, found);
            Group.Barrier();
            prefix |= (uint)found[0] << down;
            mask |= (uint)(Bins - 1) << down;
            wanted = found[1];
            Group.Barrier();
        }

        return new Cut { Key = prefix, Ties = prefix == 0 ? 0 : wanted };
    }

    public static int Bin(uint key, int down) => (int)(key >> down & (Bins - 1));

    /// <summary>The bin of the wanted-th largest, and how many of that bin are wanted; as they were where there are not so many.</summary>
    public static void FindBin(ArrayView<int> counts, int wanted, ArrayView<int> found)
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
    public static int Before(int own)
    {
        Group.Barrier(); // two scans in a row share their memory
        return GroupExtensions.ExclusiveScan<int, AddInt32>(own);
    }

    /// <summary>The sum of what all threads have.</summary>
    public static int Sum(int own)
    {
        Group.Barrier();
        return GroupExtensions.AllReduce<int, AddInt32>(own);
    }
}

/// <summary>A thread's own neighbours among many elements.</summary>
internal struct Share
{
    public int Start, End;

    public static Share Of(int count)
    {
        int each = (count + Group.DimX - 1) / Group.DimX, start = IntrinsicMath.Min(count, Group.IdxX * each);
        return new Share { Start = start, End = IntrinsicMath.Min(count, start + each) };
    }
}

/// <summary>How many elements are above a cut and how many equal to it: of a share, or of all shares before it.</summary>
internal struct Above
{
    public int Larger, Equal;

    public static Above Count<TKeys>(TKeys keys, Share share, Cut cut) where TKeys : struct, IKeys
    {
        Above above = default;
        for (int i = share.Start; i < share.End; i++)
        {
            uint key = keys.At(i);
            above.Larger += key > cut.Key ? 1 : 0;
            above.Equal += key == cut.Key ? 1 : 0;
        }

        return above;
    }

    /// <summary>Of the threads before this one.</summary>
    public readonly Above Before() => new() { Larger = RadixSelect.Before(Larger), Equal = RadixSelect.Before(Equal) };

    /// <summary>How many of them stay.</summary>
    public readonly int Kept(Cut cut) => Larger + IntrinsicMath.Min(Equal, cut.Ties);

    /// <summary>Counts one more.</summary>
    /// <returns>Whether it stays.</returns>
    public bool Add(uint key, Cut cut)
    {
        bool larger = key > cut.Key, equal = key == cut.Key, stays = larger || (equal && Equal < cut.Ties);
        Larger += larger ? 1 : 0;
        Equal += equal ? 1 : 0;
        return stays;
    }
}
