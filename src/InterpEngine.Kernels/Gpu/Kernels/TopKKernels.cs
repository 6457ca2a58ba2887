using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The k largest of each row, the largest first.</summary>
internal static class TopKKernels
{
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
        ArrayView<int> counts = SharedMemory.Allocate<int>(RadixSelect.Bins), found = SharedMemory.Allocate<int>(RadixSelect.Found);
        int first = First(Grid.IdxX % parts, parts, allColumns), columns = First(Grid.IdxX % parts + 1, parts, allColumns) - first;
        long row = Grid.IdxX / parts * stride + first, to = (long)Grid.IdxX * k;
        var keys = new RowKeys { X = x, Row = row };
        Cut cut = RadixSelect.Find(keys, columns, k, counts, found);
        var share = Share.Of(columns);
        Above above = Above.Count(keys, share, cut).Before();
        int ahead = k - cut.Ties;
        for (int i = share.Start; i < share.End; i++)
        {
            uint key = keys.At(i);
            Above before = above;
            if (above.Add(key, cut) && key > cut.Key)
            {
                chosen[to + before.Larger] = i;
            }
            else if (key == cut.Key && before.Equal < cut.Ties)
            {
                values[to + ahead + before.Equal] = x[row + i];
                indices[to + ahead + before.Equal] = Name(names, row, first, i);
            }
        }

        Group.Barrier();

        // The equal ones are in place; those above go where as many are larger, or as large and further to the left.
        for (int i = Group.IdxX; i < ahead; i += Group.DimX)
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

    private struct RowKeys : IKeys
    {
        public ArrayView<float> X;
        public long Row;

        public readonly uint At(int i) => Elementary.Order(X[Row + i]);
    }

    private static int Name(ArrayView<int> names, long row, int first, int column) =>
        names.Length != 0 ? names[row + column] : first + column;
}
