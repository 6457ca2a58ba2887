using System.Runtime.InteropServices;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Captures;

/// <summary>A shard's data in memory, filled sequence by sequence in any order, then written at once.</summary>
internal sealed unsafe class ShardImage : IDisposable
{
    private readonly ShardLayout _layout;
    private readonly long _first;
    private readonly IReadOnlyList<CaptureSequence> _sequences;
    private readonly SafetensorsDeclaration[] _tensors;
    private readonly Dictionary<string, long> _offsets = new(StringComparer.Ordinal);
    private readonly long[] _keptOffsets;
    private byte* _data;

    /// <summary>Takes memory for the shard, and fills in everything that needs no model.</summary>
    /// <exception cref="CaptureException">There is not enough memory.</exception>
    public ShardImage(ShardLayout layout, long first, IReadOnlyList<CaptureSequence> sequences)
    {
        (_layout, _first, _sequences) = (layout, first, sequences);
        _tensors = [.. layout.Tensors(first, sequences)];
        long bytes = 0;
        foreach (SafetensorsDeclaration tensor in _tensors)
        {
            _offsets.Add(tensor.Name, bytes);
            bytes += tensor.Length;
        }

        try
        {
            _data = (byte*)NativeMemory.Alloc((nuint)bytes);
        }
        catch (OutOfMemoryException e)
        {
            throw new CaptureException(
                $"There is no memory for a shard of {bytes:N0} bytes.",
                "Choose a smaller shard size, shorter sequences or fewer points.",
                e);
        }

        _keptOffsets = new long[sequences.Count + 1];
        FillInput();
    }

    /// <summary>Copies the values of one sequence out of a run.</summary>
    /// <param name="index">Which of the shard's sequences.</param>
    /// <param name="run">A run of a left-padded batch.</param>
    /// <param name="row">The sequence's row in it.</param>
    public void Add(int index, RunResult run, int row)
    {
        int length = _sequences[index].Ids.Length;
        (int start, int count) = _layout.Kept(length);
        foreach ((HookPoint point, _) in _layout.PerToken)
        {
            CopyTokens(run.Cache[point], row, length, start, count, At(point.Name), _keptOffsets[index]);
        }

        if (_layout.Vocabulary > 0)
        {
            CopyTokens(run.Logits!, row, length, start, count, At(ShardLayout.Logits), _keptOffsets[index]);
        }

        if (_offsets.ContainsKey(ShardLayout.Loss))
        {
            ((float*)At(ShardLayout.Loss))[index] = Loss(run.NextTokenLogProbabilities, row, length);
        }

        foreach (HookPoint point in _layout.Attention)
        {
            byte* destination = At(ShardLayout.AttentionName(_first + index, point));
            CopyAttention(run.Cache[point], row, length, start, count, (float*)destination);
        }
    }

    /// <summary>Writes the shard: it stands at the path whole, on disk for good, or not at all.</summary>
    /// <returns>The file's bytes.</returns>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public long Write(string path)
    {
        const int piece = 64 << 20;
        using var writer = new SafetensorsWriter(path, _tensors);
        foreach (SafetensorsDeclaration tensor in _tensors)
        {
            byte* data = At(tensor.Name);
            for (long done = 0; done < tensor.Length; done += piece)
            {
                writer.Write(tensor.Name, new(data + done, (int)Math.Min(piece, tensor.Length - done)));
            }
        }

        writer.Complete();
        return new FileInfo(path).Length;
    }

    public void Dispose()
    {
        NativeMemory.Free(_data);
        _data = null;
    }

    private byte* At(string tensor) => _data + _offsets[tensor];

    private void FillInput()
    {
        long* ids = (long*)At(ShardLayout.InputIds), positions = (long*)At(ShardLayout.Positions);
        long* inputOffsets = (long*)At(ShardLayout.InputOffsets), documents = (long*)At(ShardLayout.Document);
        inputOffsets[0] = 0;
        for (int i = 0; i < _sequences.Count; i++)
        {
            (int start, int count) = _layout.Kept(_sequences[i].Ids.Length);
            inputOffsets[i + 1] = inputOffsets[i] + _sequences[i].Ids.Length;
            _keptOffsets[i + 1] = _keptOffsets[i] + count;
            documents[i] = _sequences[i].Document;
            foreach (int id in _sequences[i].Ids)
            {
                *ids++ = id;
            }

            for (int position = start; position < start + count; position++)
            {
                *positions++ = position;
            }
        }

        _keptOffsets.CopyTo(new Span<long>(At(ShardLayout.SequenceOffsets), _keptOffsets.Length));
    }

    /// <summary>
    /// From [batch, positions, …], where the sequence ends at the last position, to rows from <paramref name="at"/> on.
    /// </summary>
    private static void CopyTokens(Tensor value, int row, int length, int start, int count, byte* destination, long at)
    {
        if (count == 0)
        {
            return;
        }

        int positions = value.Shape[1], width = (int)(value.Shape.Count / value.Shape[0] / positions);
        using Tensor rows = value.Reshape(value.Shape[0] * positions, width);
        using Tensor kept = rows.Slice((row + 1) * positions - length + start, count);
        kept.CopyTo(new Span<float>((float*)destination + at * width, checked(count * width)));
    }

    /// <summary>From [batch, heads, queries, keys] to [heads, kept queries, the sequence's own keys].</summary>
    private static void CopyAttention(Tensor value, int row, int length, int start, int count, float* destination)
    {
        if (count == 0)
        {
            return;
        }

        int heads = value.Shape[1], queries = value.Shape[2], keys = value.Shape[3];
        var block = new float[checked(count * keys)];
        using Tensor rows = value.Reshape(value.Shape[0] * heads * queries, keys);
        for (int head = 0; head < heads; head++)
        {
            using Tensor kept = rows.Slice((row * heads + head + 1) * queries - length + start, count);
            kept.CopyTo<float>(block);
            for (int query = 0; query < count; query++, destination += length)
            {
                block.AsSpan(query * keys + keys - length, length).CopyTo(new Span<float>(destination, length));
            }
        }
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
