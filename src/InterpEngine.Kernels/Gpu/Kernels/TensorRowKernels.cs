using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>
/// Rows of X as tensor cores read them: in chunks of 16 bytes, rounded, and for many rows laid out as the instruction's A. Of each 16
/// rows and 64 bytes of K a lane (g, t) has chunk t of rows g and g + 8, and of these the first halves are the registers of one
/// instruction and the last halves those of the next. So four registers that the instruction wants side by side come from memory
/// in one piece.
/// </summary>
internal static class TensorRowKernels
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 16;

    /// <summary>Chunks of a tile's 64 bytes of K: two of each lane.</summary>
    public const int TileChunks = 64;

    /// <summary>X in whole chunks, rounded, with zeros at the end of each row: a thread a chunk.</summary>
    [Kernel(256, typeof(BF16Tensor))]
    [Kernel(256, typeof(TF32Tensor))]
    public static void Round<TFormat>(
        ArrayView<float> x, long xStride, int inner, int chunks, int aligned, long count, ArrayView<Bits4> rounded)
        where TFormat : struct, ITensorFormat
    {
        TFormat format = default;
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            long row = i / chunks;
            rounded[i] = format.Round(x, row * xStride, (int)(i - row * chunks), inner, aligned != 0);
        }
    }

    /// <summary>Lays out rounded rows: a thread a lane of a tile. Zeros behind the last row and chunk.</summary>
    [Kernel(256)]
    public static void Lay(ArrayView<Bits4> x, long xStride, int rows, int chunks, int blocks, long count, ArrayView<Bits4> laid)
    {
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            int lane = (int)(i & 31);
            long tile = i / 32 / blocks, row = tile * Rows + (lane >> 2), chunk = (i / 32 - tile * blocks) * 4 + (lane & 3);
            Lay(x, xStride, row, rows, chunk, chunks, laid, i / 32 * TileChunks + lane);
        }
    }

    /// <summary>The same for tiles of <see cref="TensorProductKernels.Grouped"/>: of each as many sixteens as it has rows.</summary>
    [Kernel(256)]
    public static void LayGroups(ArrayView<Bits4> x, long xStride, ArrayView<long> table, int chunks, int blocks, long count, ArrayView<Bits4> laid)
    {
        long i = (long)Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < count)
        {
            int lane = (int)(i & 31), side = TensorProductKernels.TileSide / Rows;
            long tile = i / 32 / blocks, entry = tile / side * TensorProductKernels.TableLength, chunk = (i / 32 - tile * blocks) * 4 + (lane & 3);
            long first = table[entry + TensorProductKernels.TableRow] + tile % side * Rows, end = table[entry + TensorProductKernels.TableEnd];
            long row = first + (lane >> 2);
            if (first < end)
            {
                Lay(x, xStride, row, end, chunk, chunks, laid, i / 32 * TileChunks + lane);
            }
        }
    }

    private static void Lay(
        ArrayView<Bits4> x, long xStride, long row, long rows, long chunk, int chunks, ArrayView<Bits4> laid, long to)
    {
        Bits4 low = default, high = default;
        if (row < rows && chunk < chunks)
        {
            low = x[row * xStride + chunk];
        }

        if (row + 8 < rows && chunk < chunks)
        {
            high = x[(row + 8) * xStride + chunk];
        }

        Both<Bits4> operand = Operand(low, high);
        laid[to] = operand.First;
        laid[to + 32] = operand.Last;
    }

    /// <summary>The registers of two instructions' A from a lane's chunks of rows g and g + 8.</summary>
    public static Both<Bits4> Operand(Bits4 low, Bits4 high) => new()
    {
        First = new Bits4 { X = low.X, Y = high.X, Z = low.Y, W = high.Y },
        Last = new Bits4 { X = low.Z, Y = high.Z, Z = low.W, W = high.W },
    };
}
