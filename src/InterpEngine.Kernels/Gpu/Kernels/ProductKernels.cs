using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Products with F32 and BF16 weights on ordinary cores. An element is summed in chunks of 128 along K, each a chain of fused
/// multiply-adds from +0; the chunks' sums are added in order. Both kernels do exactly this, so the number of rows moves no bit.
/// </summary>
internal static class ProductKernels
{
    /// <summary>Elements of a chain along K.</summary>
    public const int Chunk = 128;

    /// <summary>Elements along K in shared memory at a time; chains are padded with zeros to whole steps.</summary>
    public const int Step = 16;

    /// <summary>Rows that <see cref="FewRows"/> makes at a time.</summary>
    public const int Few = 4;

    private const int LargestSide = 16;
    private const int LargestTile = 4 * LargestSide;
    private const int Pitch = LargestSide + 1;

    /// <summary>
    /// A group of side × side threads makes a tile of 4·side rows and columns, each thread 4 × 4 elements; the groups of a row of tiles
    /// come first.
    /// </summary>
    [Kernel(256, typeof(float), typeof(F32Format), Groups = 2)]
    [Kernel(256, typeof(ushort), typeof(BF16Format), Groups = 2)]
    public static void Tile<T, TFormat>(
        ArrayView<float> x, long xStride, ArrayView<T> w, long leading, int rows, int inner, int columns, int side, int tilesAcross,
        ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride, ArrayView<float> output,
        long outputStride)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        ArrayView<Four> left = SharedMemory.Allocate<Four>(Step * Pitch), right = SharedMemory.Allocate<Four>(Step * Pitch);
        ArrayView<float> tile = SharedMemory.Allocate<float>(LargestTile * (LargestTile + 1));
        ArrayView<float> leftElements = left.Cast<float>(), rightElements = right.Cast<float>();
        int thread = Group.IdxX, threads = Group.DimX, size = 4 * side;
        int down = thread / side, across = thread % side;
        int firstRow = Grid.IdxX / tilesAcross * size, firstColumn = Grid.IdxX % tilesAcross * size;
        Four sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        Four total0 = default, total1 = default, total2 = default, total3 = default;
        for (int k0 = 0; k0 < inner; k0 += Step)
        {
            for (int i = thread; i < size * Step; i += threads)
            {
                int at = i / Step, step = i % Step, k = k0 + step;
                bool there = k < inner;
                int row = firstRow + at, column = firstColumn + at;
                leftElements[step * (4 * Pitch) + at] = there && row < rows ? format.Left(x[row * xStride + k]) : 0;
                rightElements[step * (4 * Pitch) + at] = there && column < columns ? format.Read(w, column * leading + k) : 0;
            }

            Group.Barrier();
            for (int step = 0; step < Step; step++)
            {
                Four a = left[step * Pitch + down], b = right[step * Pitch + across];
                sum0 = Four.Fma(a.A, b, sum0);
                sum1 = Four.Fma(a.B, b, sum1);
                sum2 = Four.Fma(a.C, b, sum2);
                sum3 = Four.Fma(a.D, b, sum3);
            }

            Group.Barrier();
            if ((k0 + Step) % Chunk == 0 || k0 + Step >= inner)
            {
                bool first = k0 < Chunk;
                total0 = first ? sum0 : Four.Sum(total0, sum0);
                total1 = first ? sum1 : Four.Sum(total1, sum1);
                total2 = first ? sum2 : Four.Sum(total2, sum2);
                total3 = first ? sum3 : Four.Sum(total3, sum3);
                sum0 = default;
                sum1 = default;
                sum2 = default;
                sum3 = default;
            }
        }

        // Through shared memory, so that the epilogue's code stands here once and its memory is met row by row.
        StoreRow(tile, (4 * down) * (LargestTile + 1) + 4 * across, total0);
        StoreRow(tile, (4 * down + 1) * (LargestTile + 1) + 4 * across, total1);
        StoreRow(tile, (4 * down + 2) * (LargestTile + 1) + 4 * across, total2);
        StoreRow(tile, (4 * down + 3) * (LargestTile + 1) + 4 * across, total3);
        Group.Barrier();
        for (int i = thread; i < size * size; i += threads)
        {
            int row = firstRow + i / size, column = firstColumn + i % size;
            if (row < rows && column < columns)
            {
                Epilogue.Store(
                    tile[i / size * (LargestTile + 1) + i % size], row, column, bias, activation, multiply, multiplyStride, residual,
                    residualStride, pre, preStride, delta, deltaStride, output, default, outputStride);
            }
        }
    }

    /// <summary>
    /// Up to four rows, those from 4·(group / groups across) on. A group of lanes × lanes threads makes as many columns as it has lanes;
    /// each thread makes every lanes-th chunk of a column's sums.
    /// </summary>
    [Kernel(256, typeof(float), typeof(F32Format))]
    [Kernel(256, typeof(ushort), typeof(BF16Format))]
    public static void FewRows<T, TFormat>(
        ArrayView<float> x, long xStride, ArrayView<T> w, long leading, int rows, int inner, int columns, int lanes, int groupsAcross,
        int aligned, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride, ArrayView<float> output,
        long outputStride)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        int firstRow = Grid.IdxX / groupsAcross * Few;
        Make<T, TFormat>(
            x, xStride, w, leading, firstRow, IntrinsicMath.Min(Few, rows - firstRow), inner, columns, lanes, Grid.IdxX % groupsAcross,
            aligned != 0, bias, activation, multiply, multiplyStride, residual, residualStride, pre, preStride, delta, deltaStride, output,
            outputStride);
    }

    /// <summary>The same for one row, with the weight that it chose; a weight lies where the table says.</summary>
    [Kernel(256, typeof(float), typeof(F32Format))]
    [Kernel(256, typeof(ushort), typeof(BF16Format))]
    public static void Chosen<T, TFormat>(
        ArrayView<float> x, long xStride, ArrayView<int> choice, ArrayView<long> addresses, int weights, ArrayView<T> memory, int elementBytes,
        long leading, int inner, int columns, int lanes, int groupsAcross, ArrayView<float> biases, int activation, ArrayView<float> multiply,
        long multiplyStride, ArrayView<float> output, long outputStride, ArrayView<int> faults)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        int row = Grid.IdxX / groupsAcross, weight = WeightAddress.Chosen(choice, row, weights, faults);
        long at = addresses[weight * WeightAddress.Length + WeightAddress.Elements] / elementBytes;
        Make<T, TFormat>(
            x, xStride, memory.SubView(at, (columns - 1) * leading + inner), leading, row, 1, inner, columns, lanes, Grid.IdxX % groupsAcross, true,
            WeightAddress.BiasOf(addresses, weight, biases, columns), activation, multiply, multiplyStride, default, 0, default, 0, default, 0,
            output, outputStride);
    }

    private static void Make<T, TFormat>(
        ArrayView<float> x, long xStride, ArrayView<T> w, long leading, int firstRow, int count, int inner, int columns, int lanes, int across,
        bool aligned, ArrayView<float> bias, int activation, ArrayView<float> multiply, long multiplyStride, ArrayView<float> residual,
        long residualStride, ArrayView<float> pre, long preStride, ArrayView<float> delta, long deltaStride, ArrayView<float> output,
        long outputStride)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        ArrayView<Four> sums = SharedMemory.Allocate<Four>(LargestSide * LargestSide);
        ArrayView<float> totals = SharedMemory.Allocate<float>(4 * LargestSide);
        int lane = Group.IdxX % lanes, place = Group.IdxX / lanes;
        int column = across * lanes + place;
        Four total = default;
        for (int base0 = 0; base0 < inner; base0 += lanes * Chunk)
        {
            int start = base0 + lane * Chunk;
            if (start < inner && column < columns)
            {
                sums[Group.IdxX] = ChunkSums<T, TFormat>(
                    x, firstRow * xStride, xStride, count, w, column * leading, start, IntrinsicMath.Min(start + Chunk, inner), aligned);
            }

            Group.Barrier();
            if (lane == 0 && column < columns)
            {
                for (int i = 0; i < lanes && base0 + i * Chunk < inner; i++)
                {
                    Four sum = sums[Group.IdxX + i];
                    total = base0 + i == 0 ? sum : Four.Sum(total, sum);
                }
            }

            Group.Barrier();
        }

        if (lane == 0)
        {
            StoreRow(totals, 4 * place, total);
        }

        Group.Barrier();
        for (int row = lane; row < count; row += lanes)
        {
            if (column < columns)
            {
                Epilogue.Store(
                    totals[4 * place + row], firstRow + row, column, bias, activation, multiply, multiplyStride, residual, residualStride,
                    pre, preStride, delta, deltaStride, output, default, outputStride);
            }
        }
    }

    /// <summary>A chunk's sums for up to four rows, padded to whole steps as in <see cref="Tile"/>.</summary>
    private static Four ChunkSums<T, TFormat>(
        ArrayView<float> x, long firstRow, long xStride, int count, ArrayView<T> w, long column, int start, int end, bool aligned)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        Four sum = default;
        for (int k = start; k < start + (end - start + Step - 1) / Step * Step; k += 4)
        {
            Four weights = default;
            if (aligned && k + 4 <= end)
            {
                weights = format.ReadFour(w, column + k);
            }
            else
            {
                weights.A = k < end ? format.Read(w, column + k) : 0;
                weights.B = k + 1 < end ? format.Read(w, column + k + 1) : 0;
                weights.C = k + 2 < end ? format.Read(w, column + k + 2) : 0;
                weights.D = k + 3 < end ? format.Read(w, column + k + 3) : 0;
            }

            sum.A = Chain<T, TFormat>(x, firstRow, k, end, weights, sum.A);
            if (count > 1)
            {
                sum.B = Chain<T, TFormat>(x, firstRow + xStride, k, end, weights, sum.B);
            }

            if (count > 2)
            {
                sum.C = Chain<T, TFormat>(x, firstRow + 2 * xStride, k, end, weights, sum.C);
            }

            if (count > 3)
            {
                sum.D = Chain<T, TFormat>(x, firstRow + 3 * xStride, k, end, weights, sum.D);
            }
        }

        return sum;
    }

    /// <summary>Four more links of a chain.</summary>
    private static float Chain<T, TFormat>(ArrayView<float> x, long row, int k, int end, Four weights, float sum)
        where T : unmanaged
        where TFormat : struct, IWeightFormat<T>
    {
        TFormat format = default;
        sum = Ptx.Fma(k < end ? format.Left(x[row + k]) : 0, weights.A, sum);
        sum = Ptx.Fma(k + 1 < end ? format.Left(x[row + k + 1]) : 0, weights.B, sum);
        sum = Ptx.Fma(k + 2 < end ? format.Left(x[row + k + 2]) : 0, weights.C, sum);
        return Ptx.Fma(k + 3 < end ? format.Left(x[row + k + 3]) : 0, weights.D, sum);
    }

    private static void StoreRow(ArrayView<float> to, int at, Four row)
    {
        to[at] = row.A;
        to[at + 1] = row.B;
        to[at + 2] = row.C;
        to[at + 3] = row.D;
    }
}
