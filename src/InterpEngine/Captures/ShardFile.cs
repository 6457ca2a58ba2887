using System.Runtime.InteropServices;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Captures;

/// <summary>
/// A shard that is being written. Where each value stands is known before any is computed, so that it goes from the run's own memory
/// to its place in the file, in any order; only other types than F32 pass through a small buffer.
/// </summary>
internal sealed class ShardFile : IDisposable
{
    /// <summary>Elements to convert or write at a time: 4 MiB of singles.</summary>
    private const int Piece = 1 << 20;

    private readonly ShardLayout _layout;
    private readonly long _first;
    private readonly IReadOnlyList<CaptureSequence> _sequences;
    private readonly Dictionary<string, long> _offsets = new(StringComparer.Ordinal);
    private readonly long[] _keptOffsets;
    private readonly long _length;
    private readonly AtomicFile _file;
    private byte[] _narrow = [];
    private float[] _scales = [];
    private DeviceMark? _done;

    /// <summary>Begins a shard, and writes everything that needs no model.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public ShardFile(string path, ShardLayout layout, long first, IReadOnlyList<CaptureSequence> sequences)
    {
        (_layout, _first, _sequences) = (layout, first, sequences);
        SafetensorsDeclaration[] tensors = [.. layout.Tensors(first, sequences)];
        byte[] header = SafetensorsHeader.Serialize(tensors, null);
        _length = header.Length;
        foreach (SafetensorsDeclaration tensor in tensors)
        {
            _offsets.Add(tensor.Name, _length);
            _length += tensor.Length;
        }

        _keptOffsets = new long[sequences.Count + 1];
        _file = new AtomicFile(path);
        try
        {
            _file.WriteAt(0, header);
            WriteInput();
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Writes the values of some sequences.</summary>
    /// <param name="members">Which of the shard's sequences, by the run's rows.</param>
    /// <param name="run">A run of them as a left-padded batch.</param>
    /// <param name="done">What the device was asked for when the run had ended.</param>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public void Add(ReadOnlySpan<int> members, RunResult run, DeviceMark done)
    {
        _done = done;
        for (int row = 0; row < members.Length; row++)
        {
            int length = _sequences[members[row]].Ids.Length;
            foreach (HookPoint point in _layout.Attention)
            {
                WriteAttention(ShardLayout.AttentionName(_first + members[row], point), run.Cache[point], row, length);
            }

            if (_offsets.TryGetValue(ShardLayout.Loss, out long losses))
            {
                float loss = Loss(run.NextTokenLogProbabilities, row, length);
                _file.WriteAt(losses + members[row] * sizeof(float), MemoryMarshal.AsBytes(new ReadOnlySpan<float>(in loss)));
            }
        }

        foreach ((HookPoint point, _) in _layout.PerToken)
        {
            WriteTokens(point.Name, run.Cache[point], members);
        }

        if (_layout.Vocabulary > 0)
        {
            WriteTokens(ShardLayout.Logits, run.Logits!, members);
        }
    }

    /// <summary>Makes the shard stand at its path, whole and on disk for good.</summary>
    /// <returns>The file's bytes.</returns>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public long Commit()
    {
        _file.Commit();
        return _length;
    }

    /// <summary>Unless committed, no trace remains.</summary>
    public void Dispose() => _file.Dispose();

    private void WriteInput()
    {
        var inputOffsets = new long[_sequences.Count + 1];
        var documents = new long[_sequences.Count];
        List<long> ids = [], positions = [];
        for (int i = 0; i < _sequences.Count; i++)
        {
            (int start, int count) = _layout.Kept(_sequences[i].Ids.Length);
            inputOffsets[i + 1] = inputOffsets[i] + _sequences[i].Ids.Length;
            _keptOffsets[i + 1] = _keptOffsets[i] + count;
            documents[i] = _sequences[i].Document;
            ids.AddRange(_sequences[i].Ids.Select(id => (long)id));
            positions.AddRange(Enumerable.Range(start, count).Select(position => (long)position));
        }

        Write(ShardLayout.InputIds, CollectionsMarshal.AsSpan(ids));
        Write(ShardLayout.InputOffsets, inputOffsets);
        Write(ShardLayout.SequenceOffsets, _keptOffsets);
        Write(ShardLayout.Positions, CollectionsMarshal.AsSpan(positions));
        Write(ShardLayout.Document, documents);

        void Write(string name, ReadOnlySpan<long> values) => _file.WriteAt(_offsets[name], MemoryMarshal.AsBytes(values));
    }

    /// <summary>From [batch, positions, …], where a sequence ends at the last position, to rows of the shard's tensor.</summary>
    private void WriteTokens(string name, Tensor value, ReadOnlySpan<int> members)
    {
        int positions = value.Shape[1], columns = value.Shape[^1];
        int rowsOfOne = checked((int)(value.Shape.Count / value.Shape[0] / positions / columns)), end;
        using Tensor rows = value.Reshape(checked((int)value.Shape.Rows), columns);
        for (int row = 0; row < members.Length; row = end)
        {
            // Neighbours in the run that are neighbours in the shard are written as one.
            (int start, int count) = From(members, row);
            for (end = row + 1; end < members.Length && members[end] == members[end - 1] + 1 && start + count == end * positions; end++)
            {
                (int next, int more) = From(members, end);
                if (next != end * positions)
                {
                    break;
                }

                count += more;
            }

            using Tensor kept = rows.Slice(start * rowsOfOne, count * rowsOfOne);
            Write(name, _keptOffsets[members[row]] * rowsOfOne, kept, 0);
        }

        (int Start, int Count) From(ReadOnlySpan<int> members, int row)
        {
            int length = _sequences[members[row]].Ids.Length;
            (int start, int count) = _layout.Kept(length);
            return ((row + 1) * positions - length + start, count);
        }
    }

    /// <summary>From [batch, heads, queries, keys] to [heads, kept queries, the sequence's own keys].</summary>
    private void WriteAttention(string name, Tensor value, int row, int length)
    {
        (int start, int count) = _layout.Kept(length);
        int heads = value.Shape[1], queries = value.Shape[2], keys = value.Shape[3];
        using Tensor rows = value.Reshape(checked((int)value.Shape.Rows), keys);
        for (int head = 0; head < heads; head++)
        {
            using Tensor kept = rows.Slice((row * heads + head + 1) * queries - length + start, count);
            Write(name, (long)head * count, kept, keys - length);
        }
    }

    /// <summary>Writes rows to a tensor from one of its rows on.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="at">Its row to begin at.</param>
    /// <param name="values">F32 [rows, columns].</param>
    /// <param name="skipped">Columns to leave out on the left.</param>
    private void Write(string name, long at, Tensor values, int skipped)
    {
        int width = values.Shape[1], columns = width - skipped, step = Math.Max(1, Piece / width);
        float[]? host = values.Device is HostDevice ? null : new float[Math.Min(step, values.Shape[0]) * width];
        for (int start = 0; start < values.Shape[0]; start += step)
        {
            using Tensor part = values.Slice(start, Math.Min(step, values.Shape[0] - start));
            ReadOnlySpan<float> elements = Elements(part, host);
            if (skipped == 0)
            {
                Write(name, at + start, elements, part.Shape[0], columns);
            }

            for (int row = 0; skipped > 0 && row < part.Shape[0]; row++)
            {
                Write(name, at + start + row, elements.Slice(row * width + skipped, columns), 1, columns);
            }
        }
    }

    private void Write(string name, long at, ReadOnlySpan<float> values, int rows, int columns)
    {
        int size = _layout.Type.Bits() / 8;
        long offset = _offsets[name] + at * columns * size;
        if (_layout.Type == SafetensorsType.F32)
        {
            _file.WriteAt(offset, MemoryMarshal.AsBytes(values));
            return;
        }

        Array.Resize(ref _narrow, Math.Max(_narrow.Length, values.Length * size));
        Array.Resize(ref _scales, Math.Max(_scales.Length, rows));
        Span<byte> narrow = _narrow.AsSpan(0, values.Length * size);
        Narrowing.Store(_layout.Type, values, rows, narrow, _scales);
        _file.WriteAt(offset, narrow);
        if (_layout.Type == SafetensorsType.I8)
        {
            long scales = _offsets[Narrowing.ScaleName(name)] + at * sizeof(float);
            _file.WriteAt(scales, MemoryMarshal.AsBytes(_scales.AsSpan(0, rows)));
        }
    }

    /// <summary>A tensor's own memory where the host can read it; else a copy.</summary>
    private unsafe ReadOnlySpan<float> Elements(Tensor tensor, float[]? host)
    {
        int count = checked((int)tensor.Shape.Count);
        if (host is null)
        {
            return new((void*)tensor.Address, count);
        }

        tensor.CopyTo(host.AsSpan(0, count), _done!);
        return host.AsSpan(0, count);
    }

    /// <summary>The mean over one sequence, NaN where it has no next token.</summary>
    private static float Loss(float[,]? logProbabilities, int row, int length)
    {
        double sum = 0;
        for (int i = 0; logProbabilities is not null && i < length - 1; i++)
        {
            sum -= logProbabilities[row, logProbabilities.GetLength(1) - length + 1 + i];
        }

        return length > 1 ? (float)(sum / (length - 1)) : float.NaN;
    }
}
