using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// Cosines and sines on the device. The table of a fixed scaling is kept and grows; a batch whose texts rotate differently
/// (length-dependent scalings) gets one of its own, with one part for each length.
/// </summary>
internal sealed class RotaryTables(RotaryFrequencies frequencies, Device device) : IDisposable
{
    private readonly Lock _lock = new();
    private Table? _kept;

    /// <summary>Texts of lengths with the same key rotate alike.</summary>
    public int LengthKey(int length) => frequencies.LengthKey(length);

    /// <summary>The rows that a batch needs, and each sequence's first row in them.</summary>
    /// <param name="lengths">Real tokens of each sequence, those in its cache included.</param>
    /// <param name="longest">Positions for which there are to be rows, at least as many as tokens.</param>
    public Rows For(ReadOnlySpan<int> lengths, int longest)
    {
        var keys = new int[lengths.Length];
        for (int i = 0; i < keys.Length; i++)
        {
            keys[i] = frequencies.LengthKey(lengths[i]);
        }

        int[] distinct = [.. keys.Distinct()];
        if (distinct.Length > 1)
        {
            using var table = new Table(frequencies, device, distinct, lengths, longest);
            return table.Share([.. keys.Select(key => Array.IndexOf(distinct, key) * longest)]);
        }

        lock (_lock)
        {
            if (_kept is null || _kept.Key != distinct[0] || _kept.Length < longest)
            {
                int capacity = _kept?.Key == distinct[0] ? Math.Max(longest, 2 * _kept.Length) : longest;
                _kept?.Dispose();
                _kept = new Table(frequencies, device, distinct, lengths, capacity);
            }

            return _kept.Share(new int[keys.Length]);
        }
    }

    public void Dispose() => _kept?.Dispose();

    /// <summary>Shared handles on a table.</summary>
    public sealed record Rows(Tensor Cos, Tensor Sin, int[] FirstRow) : IDisposable
    {
        public void Dispose()
        {
            Cos.Dispose();
            Sin.Dispose();
        }
    }

    private sealed class Table : IDisposable
    {
        private readonly Tensor _cos;
        private readonly Tensor _sin;

        /// <summary>Angles are computed in double precision from the single-precision frequencies, and rounded once.</summary>
        public Table(RotaryFrequencies frequencies, Device device, int[] keys, ReadOnlySpan<int> lengths, int length)
        {
            (Key, Length) = (keys[0], length);
            int pairs = frequencies.Channels / 2;
            var cos = new float[keys.Length * length * pairs];
            var sin = new float[cos.Length];
            for (int part = 0; part < keys.Length; part++)
            {
                float[] inverse = frequencies.Compute(LengthWithKey(frequencies, keys[part], lengths));
                for (int position = 0; position < length; position++)
                {
                    int at = (part * length + position) * pairs;
                    for (int i = 0; i < pairs; i++)
                    {
                        (double s, double c) = Math.SinCos((double)inverse[i] * position);
                        cos[at + i] = (float)(c * frequencies.AttentionFactor);
                        sin[at + i] = (float)(s * frequencies.AttentionFactor);
                    }
                }
            }

            _cos = device.Upload<float>(cos, keys.Length * length, pairs);
            _sin = device.Upload<float>(sin, keys.Length * length, pairs);
        }

        public int Key { get; }

        public int Length { get; }

        public Rows Share(int[] firstRows) => new(_cos.Share(), _sin.Share(), firstRows);

        public void Dispose()
        {
            _cos.Dispose();
            _sin.Dispose();
        }

        private static int LengthWithKey(RotaryFrequencies frequencies, int key, ReadOnlySpan<int> lengths)
        {
            foreach (int length in lengths)
            {
                if (frequencies.LengthKey(length) == key)
                {
                    return length;
                }
            }

            return 0;
        }
    }
}
