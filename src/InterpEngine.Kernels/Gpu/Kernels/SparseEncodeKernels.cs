using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Algorithms.ScanReduceOperations;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Keys of a row of pre-activations; see <see cref="SparseEncode"/>.</summary>
internal struct FeatureKeys : IKeys
{
    public ArrayView<float> Dense, Scale, Threshold;
    public ArrayView<int> Chosen;
    public long Row;
    public int ByMagnitude;

    public readonly uint At(int i) => Of(Dense[Row + i], Name(i));

    /// <summary>Which feature a column is.</summary>
    public readonly int Name(int column) => Chosen.Length != 0 ? Chosen[column] : column;

    public readonly uint Of(float value, int feature)
    {
        float score = Scale.Length != 0 ? value * Scale[feature] : value;
        bool excluded = score <= (Threshold.Length != 0 ? Threshold[feature] : float.NegativeInfinity);
        return excluded ? 0 : Elementary.Order(ByMagnitude != 0 ? Elementary.Abs(score) : score);
    }
}

/// <summary>
/// What survives of rows of pre-activations that lie in the GPU's cache. Where it is known how many survive at most, each row's go to a list of
/// its own, and from there to the sparse matrix once it is known where they belong.
/// </summary>
internal static class SparseEncodeKernels
{
    private const int MostThreads = 256;

    /// <summary>Scan: row pointers that a thread makes at a time.</summary>
    private const int Each = 8;

    /// <summary>Candidates that <see cref="Select"/> ranks one against another.</summary>
    private const int MostRanked = RadixSelect.Bins / 2;

    /// <summary>How many of each row survive, a group for each.</summary>
    [Kernel(MostThreads)]
    public static void Count(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<int> counts)
    {
        FeatureKeys keys = KeysOf(dense, stride, chosen, scale, threshold, 0);
        int count = 0;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            count += keys.At(i) != 0 ? 1 : 0;
        }

        count = RadixSelect.Sum(count);
        if (Group.IdxX == 0)
        {
            counts[Grid.IdxX] = count;
        }
    }

    /// <summary>Writes those that <see cref="Count"/> counted, a group for each row.</summary>
    [Kernel(MostThreads)]
    public static void Emit(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<int> pointers, ArrayView<int> indices, ArrayView<float> values, int capacity)
    {
        FeatureKeys keys = KeysOf(dense, stride, chosen, scale, threshold, 0);
        var share = Share.Of(columns);
        int at = pointers[Grid.IdxX] + Above.Count(keys, share, default).Before().Larger;
        for (int i = share.Start; i < share.End; i++)
        {
            if (keys.At(i) != 0)
            {
                if (at >= 0 && at < capacity)
                {
                    indices[at] = keys.Name(i);
                    values[at] = dense[keys.Row + i];
                }

                at++;
            }
        }
    }

    /// <summary>The k largest of each row, a group for each: to its list, by columns, and how many there are.</summary>
    [Kernel(MostThreads)]
    public static void Select(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold, int byMagnitude,
        int k, ArrayView<int> listColumns, ArrayView<float> listValues, ArrayView<int> counts)
    {
        ArrayView<int> bins = SharedMemory.Allocate<int>(RadixSelect.Bins), found = SharedMemory.Allocate<int>(RadixSelect.Found);
        ArrayView<int> ranks = SharedMemory.Allocate<int>(MostRanked);
        FeatureKeys keys = KeysOf(dense, stride, chosen, scale, threshold, byMagnitude);
        long to = (long)Grid.IdxX * k;

        // Each thread's largest: the k-th of them is a bound that k candidates reach, and few more where they are spread.
        uint own = 0;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            own = IntrinsicMath.Max(own, keys.At(i));
        }

        int reaching = MostRanked + 1;
        uint bound = 0;
        if (k <= Group.DimX)
        {
            bound = IntrinsicMath.Max(1u, KthOfThreads(own, k, bins, found));
            reaching = Gather(keys, columns, bound, bins, found);
        }

        if (reaching <= MostRanked)
        {
            Rank(keys, dense, reaching, k, bins, ranks, to, listColumns, listValues, counts);
            return;
        }

        Cut cut = RadixSelect.Find(keys, columns, k, bins, found);
        var share = Share.Of(columns);
        Above ofShare = Above.Count(keys, share, cut), above = ofShare.Before();
        for (int i = share.Start; i < share.End; i++)
        {
            int at = above.Kept(cut);
            if (above.Add(keys.At(i), cut))
            {
                listColumns[to + at] = keys.Name(i);
                listValues[to + at] = dense[keys.Row + i];
            }
        }

        if (Group.IdxX == Group.DimX - 1)
        {
            counts[Grid.IdxX] = above.Kept(cut);
        }
    }

    /// <summary>The largest of each group of neighbouring columns, warps for the groups, a group of threads for each row.</summary>
    [Kernel(MostThreads)]
    public static void SelectOfGroups(
        ArrayView<float> dense, long stride, int columns, ArrayView<float> scale, ArrayView<float> threshold, int k, ArrayView<int> winners,
        ArrayView<int> listColumns, ArrayView<float> listValues, ArrayView<int> counts)
    {
        FeatureKeys keys = KeysOf(dense, stride, default, scale, threshold, 0);
        int size = columns / k, warp = Group.IdxX / Warp.WarpSize, warps = Group.DimX / Warp.WarpSize;
        long to = (long)Grid.IdxX * k;
        for (int group = warp; group < k; group += warps)
        {
            ulong best = 0;
            for (int i = Warp.LaneIdx; i < size; i += Warp.WarpSize)
            {
                uint key = keys.At(group * size + i);
                best = IntrinsicMath.Max(best, key == 0 ? 0ul : (ulong)key << 32 | (uint)(int.MaxValue - i));
            }

            for (int offset = Warp.WarpSize / 2; offset > 0; offset /= 2)
            {
                best = IntrinsicMath.Max(best, Warp.ShuffleXor(best, offset));
            }

            if (Warp.LaneIdx == 0)
            {
                winners[to + group] = best == 0 ? -1 : group * size + int.MaxValue - (int)(best & 0xffffffffu);
            }
        }

        Group.Barrier();
        var share = Share.Of(k);
        int there = 0;
        for (int group = share.Start; group < share.End; group++)
        {
            there += winners[to + group] >= 0 ? 1 : 0;
        }

        int at = RadixSelect.Before(there);
        for (int group = share.Start; group < share.End; group++)
        {
            int column = winners[to + group];
            if (column >= 0)
            {
                listColumns[to + at] = column;
                listValues[to + at] = dense[keys.Row + column];
                at++;
            }
        }

        if (Group.IdxX == Group.DimX - 1)
        {
            counts[Grid.IdxX] = at;
        }
    }

    /// <summary>Row pointers after the one at <paramref name="first"/>, by one group. Where they would reach 2³¹ they stop there, and that is a
    /// fault.</summary>
    [Kernel(MostThreads)]
    public static void Scan(ArrayView<int> counts, ArrayView<int> pointers, int first, int count, ArrayView<int> faults)
    {
        if (first == 0 && Group.IdxX == 0)
        {
            pointers[0] = 0;
        }

        Group.Barrier();
        long reached = pointers[first];
        for (int i = 0; i < count; i += Group.DimX * Each)
        {
            long own = 0;
            int start = IntrinsicMath.Min(count, i + Group.IdxX * Each), end = IntrinsicMath.Min(count, start + Each);
            for (int j = start; j < end; j++)
            {
                own += counts[j];
            }

            Group.Barrier();
            long next = reached + GroupExtensions.ExclusiveScan<long, AddInt64>(own);
            Group.Barrier();
            reached += GroupExtensions.AllReduce<long, AddInt64>(own);
            for (int j = start; j < end; j++)
            {
                next += counts[j];
                pointers[first + 1 + j] = (int)IntrinsicMath.Min(next, (long)int.MaxValue);
            }
        }

        if (reached >= int.MaxValue)
        {
            faults[0] = (int)IndexedOp.TooManySurvivors;
        }
    }

    /// <summary>Lists of k places each to where they belong, a thread for each place.</summary>
    [Kernel(MostThreads)]
    public static void Place(
        ArrayView<int> listColumns, ArrayView<float> listValues, ArrayView<int> counts, int k, long places, ArrayView<int> pointers,
        ArrayView<int> indices, ArrayView<float> values, int capacity)
    {
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < places)
        {
            int row = (int)(i / k), place = (int)(i - (long)row * k), at = pointers[row] + place;
            if (place < counts[row] && at >= 0 && at < capacity)
            {
                indices[at] = listColumns[i];
                values[at] = listValues[i];
            }
        }
    }

    /// <summary>Directions as a weight, in BF16 or fp32, a group for each; zeros follow up to the next column.</summary>
    [Kernel(MostThreads)]
    public static void Pack(
        ArrayView<float> directions, long stride, int all, ArrayView<int> chosen, int inner, ArrayView<float> wide, ArrayView<ushort> narrow,
        int leading, ArrayView<int> faults)
    {
        long to = (long)Grid.IdxX * leading;
        int direction = chosen.Length == 0 ? Grid.IdxX : TableKernels.Required(chosen[Grid.IdxX], all, (int)IndexedOp.SparseEncode, faults);
        for (int i = Group.IdxX; i < leading; i += Group.DimX)
        {
            float value = i < inner && direction >= 0 ? directions[direction * stride + i] : 0;
            if (narrow.Length != 0)
            {
                narrow[to + i] = (ushort)Elementary.RoundBF16(value);
            }
            else
            {
                wide[to + i] = value;
            }
        }
    }

    /// <summary>A vector's chosen elements, which <see cref="Pack"/> checked.</summary>
    [Kernel(MostThreads)]
    public static void Pick(ArrayView<float> from, ArrayView<int> chosen, ArrayView<float> to)
    {
        int i = Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < to.Length)
        {
            int place = chosen[i];
            to[i] = place >= 0 && place < from.Length ? from[place] : 0;
        }
    }

    private static FeatureKeys KeysOf(
        ArrayView<float> dense, long stride, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold, int byMagnitude) => new()
        {
            Dense = dense,
            Scale = scale,
            Threshold = threshold,
            Chosen = chosen,
            Row = Grid.IdxX * stride,
            ByMagnitude = byMagnitude,
        };

    /// <summary>The k-th largest of the threads' keys.</summary>
    private static uint KthOfThreads(uint own, int k, ArrayView<int> shared, ArrayView<int> found)
    {
        shared[Group.IdxX] = (int)own;
        Group.Barrier();
        int rank = 0;
        for (int i = 0; i < Group.DimX; i++)
        {
            uint other = (uint)shared[i];
            rank += other > own || (other == own && i < Group.IdxX) ? 1 : 0;
        }

        if (rank == k - 1)
        {
            found[0] = (int)own;
        }

        Group.Barrier();
        return (uint)found[0];
    }

    /// <summary>Columns whose keys reach a bound, in any order, as far as there is room.</summary>
    /// <returns>How many there are.</returns>
    private static int Gather(FeatureKeys keys, int columns, uint bound, ArrayView<int> shared, ArrayView<int> found)
    {
        if (Group.IdxX == 0)
        {
            found[1] = 0;
        }

        Group.Barrier();
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
        {
            if (keys.At(i) >= bound)
            {
                int place = Atomic.Add(ref found[1], 1);
                if (place < MostRanked)
                {
                    shared[place] = i;
                }
            }
        }

        Group.Barrier();
        int count = found[1];
        Group.Barrier();
        return count;
    }

    /// <summary>The k largest of the gathered columns to a row's list: each is ranked against all others.</summary>
    private static void Rank(
        FeatureKeys keys, ArrayView<float> dense, int count, int k, ArrayView<int> gathered, ArrayView<int> ranks, long to,
        ArrayView<int> listColumns, ArrayView<float> listValues, ArrayView<int> counts)
    {
        // Behind the columns lie their keys.
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            gathered[MostRanked + i] = (int)keys.At(gathered[i]);
        }

        Group.Barrier();
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            uint key = (uint)gathered[MostRanked + i];
            int column = gathered[i], rank = 0;
            for (int j = 0; j < count; j++)
            {
                uint other = (uint)gathered[MostRanked + j];
                rank += other > key || (other == key && gathered[j] < column) ? 1 : 0;
            }

            ranks[i] = rank;
        }

        Group.Barrier();
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            int column = gathered[i], place = 0;
            for (int j = 0; j < count; j++)
            {
                place += ranks[j] < k && gathered[j] < column ? 1 : 0;
            }

            if (ranks[i] < k)
            {
                listColumns[to + place] = keys.Name(column);
                listValues[to + place] = dense[keys.Row + column];
            }
        }

        if (Group.IdxX == 0)
        {
            counts[Grid.IdxX] = IntrinsicMath.Min(count, k);
        }
    }
}
