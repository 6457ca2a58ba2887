using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// Stored matrices and the weights that their values go into. All are read at the end, in pieces, by as many threads as the device packs
/// with: each reads into a buffer of its own, which stays in its cache, and packs from there. Reading costs a copy, but no page of the
/// file is mapped, and a file that others cut short meanwhile is an error rather than a crash.
/// </summary>
internal sealed unsafe class PackingQueue
{
    /// <summary>
    /// Runs of pieces for each thread. In a run the pieces follow each other, so that no two threads fill, and clear, the same new pages
    /// of a weight; more and shorter runs let the threads end together.
    /// </summary>
    private const int RunsPerThread = 16;

    /// <summary>A buffer begins as its piece does within a cache line: the system then copies half as fast again.</summary>
    private const int Line = 64;

    private readonly List<StoredMatrix> _matrices = [];
    private readonly Dictionary<(SafetensorsEntry, long), StoredMatrix> _known = [];

    /// <summary>Says that a weight is part of a stored matrix. Parts of the same matrix are read once for all of them.</summary>
    /// <param name="weight">Where the values go.</param>
    /// <param name="part">Which outputs of the matrix they are.</param>
    /// <param name="entry">The tensor.</param>
    /// <param name="first">The matrix's first element in it.</param>
    /// <param name="inputsFirst">Whether it is [inputs, outputs].</param>
    public void Add(Weight weight, FusedPart part, SafetensorsEntry entry, long first, bool inputsFirst)
    {
        if (!_known.TryGetValue((entry, first), out StoredMatrix? matrix))
        {
            int outputs = part.Groups * part.GroupSize;
            _known[(entry, first)] = matrix = inputsFirst
                ? new StoredMatrix(entry, first, weight.Inner, outputs, true, [])
                : new StoredMatrix(entry, first, outputs, weight.Inner, false, []);
            _matrices.Add(matrix);
        }

        matrix.Takers.Add((weight, part));
    }

    /// <summary>Reads and packs all.</summary>
    /// <exception cref="InvalidFileException">A file cannot be read, or has become shorter.</exception>
    public void Run(Device device, IProgress<double>? progress, CancellationToken cancellation)
    {
        Piece[] pieces = [.. _matrices.SelectMany(matrix => matrix.Cut(device.PackBytes))];
        if (pieces.Length == 0)
        {
            return;
        }

        long total = pieces.Sum(piece => piece.Bytes), run = total / (device.PackThreads * RunsPerThread), done = 0;
        int next = 0, largest = pieces.Max(piece => piece.Bytes);
        var turn = new Lock();
        try
        {
            Parallel.For(0, device.PackThreads, (_, state) =>
            {
                var buffer = (byte*)NativeMemory.AlignedAlloc((nuint)largest + Line, Line);
                try
                {
                    while (Take() is { Count: > 0 } taken)
                    {
                        foreach (Piece piece in taken)
                        {
                            cancellation.ThrowIfCancellationRequested();
                            if (state.ShouldExitCurrentIteration)
                            {
                                return; // another thread failed
                            }

                            piece.Pack(device, buffer + piece.Offset % Line);
                        }

                        Report(taken.Sum(piece => (long)piece.Bytes));
                    }
                }
                finally
                {
                    NativeMemory.AlignedFree(buffer);
                }
            });
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        ArraySegment<Piece> Take()
        {
            lock (turn)
            {
                int begin = next;
                for (long bytes = 0; next < pieces.Length && (next == begin || bytes + pieces[next].Bytes <= run); next++)
                {
                    bytes += pieces[next].Bytes;
                }

                return new(pieces, begin, next - begin);
            }
        }

        void Report(long bytes)
        {
            lock (turn)
            {
                done += bytes;
                progress?.Report((double)done / total);
            }
        }
    }

    /// <summary>A matrix of a checkpoint, row by row, and what is made of its outputs.</summary>
    private sealed record StoredMatrix(
        SafetensorsEntry Entry, long First, int Rows, int Columns, bool InputsFirst, List<(Weight Weight, FusedPart Part)> Takers)
    {
        public int Size { get; } = Entry.ElementType.Size();

        public long RowBytes => (long)Columns * Size;

        /// <summary>Cuts it along its rows: inputs in whole groups, as narrow weights keep them, outputs in whole panels of 16.</summary>
        public IEnumerable<Piece> Cut(int bytes)
        {
            int count = (int)Math.Clamp(bytes / Math.Max(1, RowBytes) / Weight.GroupSize * Weight.GroupSize, Weight.GroupSize, 1 << 20);
            for (int row = 0; row < Rows; row += count)
            {
                yield return new Piece(this, row, Math.Min(count, Rows - row));
            }
        }
    }

    /// <summary>Some rows of a matrix.</summary>
    private sealed record Piece(StoredMatrix Matrix, int Row, int Count)
    {
        public int Bytes { get; } = checked((int)(Count * Matrix.RowBytes));

        public long Offset => Matrix.Entry.Offset + Matrix.First * Matrix.Size + Row * Matrix.RowBytes;

        public void Pack(Device device, byte* buffer)
        {
            Matrix.Entry.File.Read(Offset, new Span<byte>(buffer, Bytes));
            foreach ((Weight weight, FusedPart part) in Matrix.Takers)
            {
                // Parts of one output each are packed as one part whose outputs stand apart.
                (int groups, int size, int step) = part.Size == 1 ? (1, part.Groups, part.GroupSize) : (part.Groups, part.Size, 1);
                for (int group = 0; group < groups; group++)
                {
                    int start = group * part.GroupSize + part.Start;
                    if (Matrix.InputsFirst)
                    {
                        device.Pack(weight, Block(start, Count, size, Matrix.Columns, step, Row, group * size));
                        continue;
                    }

                    // Those of the part's outputs that are rows of this piece.
                    int from = Within(Row), to = Within(Row + Count);
                    if (from < to)
                    {
                        long first = (start + (long)from * step - Row) * Matrix.Columns;
                        device.Pack(weight, Block(first, Matrix.Columns, to - from, 1, (long)Matrix.Columns * step, 0, group * size + from));
                    }

                    int Within(int row) => Math.Clamp((row - start + step - 1) / step, 0, size);
                }
            }

            WeightBlock Block(long first, int inner, int columns, long innerStride, long columnStride, int innerStart, int columnStart) => new(
                (nint)(buffer + first * Matrix.Size),
                Matrix.Entry.ElementType, inner, columns, innerStride, columnStride, innerStart, columnStart)
            {
                Alone = true,
            };
        }
    }
}
