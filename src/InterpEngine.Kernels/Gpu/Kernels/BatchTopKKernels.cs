using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// The k largest of all rows together, while only some rows are there at a time: those that survived until now, the pool, compete with all of
/// the next rows. The pool is in the order of rows and columns, and comes before the rows, so that of equals the first stay.
/// </summary>
internal static class BatchTopKKernels
{
    /// <summary>Entries of the pool that are counted together, as if they were a row.</summary>
    public const int Segment = 1024;

    /// <summary>Numbers of the state: the cut's key and its ties, how many are wanted in the round, and how many the pool has.</summary>
    public const int Key = 0, Ties = 1, PoolCount = 2, StateLength = 3;

    private const int MostThreads = 256;

    /// <summary>Adds up, over all candidates that agree with the cut's key where the mask has ones, how many have each of the next bits.
    /// Groups for the pool's segments, then for the rows.</summary>
    [Kernel(MostThreads)]
    public static void Histogram(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<uint> poolKeys, int segments, ArrayView<int> state, uint mask, int down, ArrayView<int> histogram)
    {
        ArrayView<int> counts = SharedMemory.Allocate<int>(RadixSelect.Bins);
        for (int bin = Group.IdxX; bin < RadixSelect.Bins; bin += Group.DimX)
        {
            counts[bin] = 0;
        }

        Group.Barrier();
        Items items = ItemsOf(dense, stride, columns, chosen, scale, threshold, poolKeys, segments, state);
        uint prefix = (uint)state[Key] & mask; // before the first round it is that of the last rows
        for (int i = Group.IdxX; i < items.Count; i += Group.DimX)
        {
            uint key = items.At(i);
            if (key != 0 && (key & mask) == prefix)
            {
                Atomic.Add(ref counts[RadixSelect.Bin(key, down)], 1);
            }
        }

        Group.Barrier();
        for (int bin = Group.IdxX; bin < RadixSelect.Bins; bin += Group.DimX)
        {
            if (counts[bin] != 0)
            {
                Atomic.Add(ref histogram[bin], counts[bin]);
            }
        }
    }

    /// <summary>The next bits of the cut, by one group, which leaves the histogram empty. In the first round k are wanted; where there are fewer,
    /// no cut is made in any round.</summary>
    [Kernel(MostThreads)]
    public static void Narrow(ArrayView<int> histogram, ArrayView<int> state, int k, int round, int down)
    {
        ArrayView<int> found = SharedMemory.Allocate<int>(RadixSelect.Found);
        int wanted = round == 0 ? k : state[Ties];
        if (Group.IdxX == 0)
        {
            found[0] = -1;
            found[1] = 0;
        }

        Group.Barrier();
        RadixSelect.FindBin(histogram, wanted, found);
        Group.Barrier();
        if (Group.IdxX == 0)
        {
            uint bits = found[0] < 0 ? 0 : (uint)found[0] << down;
            state[Key] = round == 0 ? (int)bits : (int)((uint)state[Key] | bits);
            state[Ties] = found[1];
        }

        for (int bin = Group.IdxX; bin < RadixSelect.Bins; bin += Group.DimX)
        {
            histogram[bin] = 0;
        }
    }

    /// <summary>How many of each segment of the pool, and then of each row, are above the cut and equal to it.</summary>
    [Kernel(MostThreads)]
    public static void Count(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<uint> poolKeys, int segments, ArrayView<int> state, ArrayView<int> larger, ArrayView<int> equal)
    {
        Items items = ItemsOf(dense, stride, columns, chosen, scale, threshold, poolKeys, segments, state);
        Above own = Above.Count(items, Share.Of(items.Count), CutOf(state));
        int above = RadixSelect.Sum(own.Larger), same = RadixSelect.Sum(own.Equal);
        if (Group.IdxX == 0)
        {
            larger[Grid.IdxX] = above;
            equal[Grid.IdxX] = same;
        }
    }

    /// <summary>Counts become what comes before, by one group.</summary>
    [Kernel(MostThreads)]
    public static void Scan(ArrayView<int> larger, ArrayView<int> equal, int count)
    {
        var share = Share.Of(count);
        Above own = default;
        for (int i = share.Start; i < share.End; i++)
        {
            own.Larger += larger[i];
            own.Equal += equal[i];
        }

        Above before = own.Before();
        for (int i = share.Start; i < share.End; i++)
        {
            int ofLarger = larger[i], ofEqual = equal[i];
            larger[i] = before.Larger;
            equal[i] = before.Equal;
            before.Larger += ofLarger;
            before.Equal += ofEqual;
        }
    }

    /// <summary>What survives goes to the next pool, each in its place.</summary>
    [Kernel(MostThreads)]
    public static void Keep(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<uint> poolKeys, ArrayView<int> poolRows, ArrayView<int> poolColumns, ArrayView<float> poolValues, int segments, int firstRow,
        ArrayView<int> state, ArrayView<int> larger, ArrayView<int> equal, ArrayView<uint> nextKeys, ArrayView<int> nextRows,
        ArrayView<int> nextColumns, ArrayView<float> nextValues)
    {
        Items items = ItemsOf(dense, stride, columns, chosen, scale, threshold, poolKeys, segments, state);
        Cut cut = CutOf(state);
        var share = Share.Of(items.Count);
        Above above = Above.Count(items, share, cut).Before();
        above.Larger += larger[Grid.IdxX];
        above.Equal += equal[Grid.IdxX];
        for (int i = share.Start; i < share.End; i++)
        {
            int at = above.Kept(cut);
            uint key = items.At(i);
            if (!above.Add(key, cut))
            {
                continue;
            }

            nextKeys[at] = key;
            if (items.OfPool)
            {
                nextRows[at] = poolRows[items.First + i];
                nextColumns[at] = poolColumns[items.First + i];
                nextValues[at] = poolValues[items.First + i];
            }
            else
            {
                nextRows[at] = firstRow + Grid.IdxX - segments;
                nextColumns[at] = items.Keys.Name(i);
                nextValues[at] = dense[items.Keys.Row + i];
            }
        }

        // The last group knows how many there are; all read the old number before, or are of rows and don't.
        if (Grid.IdxX == Grid.DimX - 1 && Group.IdxX == Group.DimX - 1)
        {
            larger[Grid.DimX] = above.Kept(cut);
        }
    }

    /// <summary>The pool as sparse rows, a thread for each row pointer or entry.</summary>
    [Kernel(MostThreads)]
    public static void Finish(
        ArrayView<int> poolRows, ArrayView<int> poolColumns, ArrayView<float> poolValues, ArrayView<int> state, int rows, ArrayView<int> pointers,
        ArrayView<int> indices, ArrayView<float> values, int capacity)
    {
        int count = state[PoolCount], step = Grid.DimX * Group.DimX, first = Grid.IdxX * Group.DimX + Group.IdxX;
        for (int row = first; row <= rows; row += step)
        {
            int low = 0, high = count;
            while (low < high)
            {
                int middle = low + (high - low) / 2;
                low = poolRows[middle] < row ? middle + 1 : low;
                high = poolRows[middle] < row ? high : middle;
            }

            pointers[row] = low;
        }

        for (int i = first; i < IntrinsicMath.Min(count, capacity); i += step)
        {
            indices[i] = poolColumns[i];
            values[i] = poolValues[i];
        }
    }

    /// <summary>How many the pool has now, which <see cref="Keep"/> left behind the counts.</summary>
    [Kernel(1)]
    public static void Settle(ArrayView<int> state, ArrayView<int> larger, int count) => state[PoolCount] = larger[count];

    private static Cut CutOf(ArrayView<int> state)
    {
        uint key = (uint)state[Key];
        return new Cut { Key = key, Ties = key == 0 ? 0 : state[Ties] };
    }

    private static Items ItemsOf(
        ArrayView<float> dense, long stride, int columns, ArrayView<int> chosen, ArrayView<float> scale, ArrayView<float> threshold,
        ArrayView<uint> poolKeys, int segments, ArrayView<int> state)
    {
        bool ofPool = Grid.IdxX < segments;
        int first = ofPool ? Grid.IdxX * Segment : 0;
        return new Items
        {
            OfPool = ofPool,
            First = first,
            Count = ofPool ? IntrinsicMath.Clamp(state[PoolCount] - first, 0, Segment) : columns,
            PoolKeys = poolKeys,
            Keys = new FeatureKeys
            {
                Dense = dense,
                Scale = scale,
                Threshold = threshold,
                Chosen = chosen,
                Row = (Grid.IdxX - segments) * stride,
            },
        };
    }

    /// <summary>A segment of the pool, or a row.</summary>
    private struct Items : IKeys
    {
        public bool OfPool;
        public int First, Count;
        public ArrayView<uint> PoolKeys;
        public FeatureKeys Keys;

        public readonly uint At(int i)
        {
            uint key = 0;
            if (OfPool)
            {
                key = PoolKeys[First + i];
            }
            else
            {
                key = Keys.At(i);
            }

            return key;
        }
    }
}
