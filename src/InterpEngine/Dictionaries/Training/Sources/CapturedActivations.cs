using System.Text.Json;
using InterpEngine.Captures;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Rows of a folder that <c>interp capture</c> wrote (docs/capture-format.md), shard after shard, of any stored type.</summary>
public sealed class CapturedActivations : IRowStream
{
    private const int BlockRows = 4096;

    private readonly string[] _shards;
    private readonly string _point;
    private readonly string? _target;
    private readonly HashSet<int> _excluded;
    private readonly bool _repeats;
    private Shard? _open;
    private int _shard, _row;

    /// <summary>Opens a folder.</summary>
    /// <param name="folder">The capture. Of an unfinished one, the shards that are there.</param>
    /// <param name="point">The hook point.</param>
    /// <param name="excluded">Tokens whose rows are left out: special ones.</param>
    /// <param name="target">The hook point of what a transcoder is to make of each row, or null.</param>
    /// <param name="repeats">Whether the first shard follows the last one.</param>
    /// <exception cref="InvalidFileException">There is no capture, or it does not have the points.</exception>
    public CapturedActivations(string folder, string point, IEnumerable<int>? excluded = null, string? target = null, bool repeats = true)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(point);
        (_point, _target, _repeats, _excluded) = (point, target, repeats, [.. excluded ?? []]);
        string index = Path.Combine(folder, CaptureIndex.FileName);
        using JsonDocument json = JsonStrict.Load(index);
        bool isCapture = json.RootElement.ValueKind == JsonValueKind.Object
            && json.RootElement.TryGetProperty("shards", out JsonElement shards) && shards.ValueKind == JsonValueKind.Array && shards.GetArrayLength() > 0;
        _shards = isCapture
            ? [.. Enumerable.Range(0, json.RootElement.GetProperty("shards").GetArrayLength()).Select(i => Path.Combine(folder, CaptureIndex.ShardName(i)))]
            : throw new InvalidFileException(index, "names no finished shard", "Capture activations into the folder first: interp capture.");
        using var first = new Shard(_shards[0], point, target);
        (Width, TargetWidth) = (first.Width, first.TargetWidth);
    }

    /// <inheritdoc/>
    public int Width { get; }

    /// <inheritdoc/>
    public int TargetWidth { get; }

    /// <inheritdoc/>
    public RowBlock? Next(CancellationToken cancellation)
    {
        if (_shard == _shards.Length)
        {
            return null;
        }

        _open ??= Open(_shard);
        RowBlock block = _open.Read(_row, Math.Min(BlockRows, _open.Rows - _row), _excluded);
        _row += BlockRows;
        if (_row >= _open.Rows)
        {
            Leave(_shard + 1);
        }

        return block;
    }

    /// <inheritdoc/>
    public void Seek(long blocks)
    {
        Leave(0);
        long[] each = [.. _shards.Select((_, shard) =>
        {
            using Shard opened = Open(shard);
            return Math.Max(1, (opened.Rows + BlockRows - 1L) / BlockRows);
        })];
        blocks = _repeats ? blocks % each.Sum() : Math.Min(blocks, each.Sum());
        while (_shard < each.Length && blocks >= each[_shard])
        {
            blocks -= each[_shard++];
        }

        _row = (int)blocks * BlockRows;
    }

    /// <inheritdoc/>
    public void Dispose() => _open?.Dispose();

    private Shard Open(int shard)
    {
        var opened = new Shard(_shards[shard], _point, _target);
        if (opened.Width == Width && opened.TargetWidth == TargetWidth)
        {
            return opened;
        }

        opened.Dispose();
        throw new InvalidFileException(_shards[shard], $"has rows of {opened.Width} at {_point}; the first shard's have {Width}");
    }

    private void Leave(int next)
    {
        _open?.Dispose();
        (_open, _row, _shard) = (null, 0, next == _shards.Length && _repeats ? 0 : next);
    }

    /// <summary>One file of the capture.</summary>
    private sealed class Shard : IDisposable
    {
        private readonly SafetensorsFile _file;
        private readonly SafetensorsEntry _values;
        private readonly SafetensorsEntry? _targets;
        private readonly int[] _tokens;

        public Shard(string path, string point, string? target)
        {
            _file = SafetensorsFile.Open(path);
            try
            {
                _values = Values(point);
                _targets = target is null ? null : Values(target);
                _tokens = Tokens();
                if (_values.Shape[0] != _tokens.Length || (_targets is not null && _targets.Shape[0] != _tokens.Length))
                {
                    throw Broken("a point does not have a row for every kept token");
                }
            }
            catch
            {
                _file.Dispose();
                throw;
            }
        }

        public int Rows => _tokens.Length;

        public int Width => WidthOf(_values);

        public int TargetWidth => _targets is null ? 0 : WidthOf(_targets);

        public RowBlock Read(int first, int count, HashSet<int> excluded)
        {
            int[] rows = [.. Enumerable.Range(0, count).Where(row => !excluded.Contains(_tokens[first + row]))];
            var values = new float[rows.Length * (Width + TargetWidth)];
            Copy(_values, first, count, rows, values, 0);
            if (_targets is not null)
            {
                Copy(_targets, first, count, rows, values, Width);
            }

            return new RowBlock(rows.Length, values);
        }

        public void Dispose() => _file.Dispose();

        /// <summary>Some of the rows behind the first one to their places.</summary>
        private void Copy(SafetensorsEntry entry, int first, int count, int[] rows, float[] values, int at)
        {
            int part = WidthOf(entry), width = Width + TargetWidth;
            float[] stored = entry.Type == SafetensorsType.I8
                ? Narrowing.Load(entry, Entry(Narrowing.ScaleName(entry.Name)), (long)first * part, count * part)
                : entry.ToSingles((long)first * part, count * part);
            for (int i = 0; i < rows.Length; i++)
            {
                stored.AsSpan(rows[i] * part, part).CopyTo(values.AsSpan(i * width + at));
            }
        }

        private static int WidthOf(SafetensorsEntry entry) => (int)(entry.Count / Math.Max(1, entry.Shape[0]));

        private SafetensorsEntry Values(string point)
        {
            SafetensorsEntry entry = Entry(point);
            bool fits = entry.Shape.Length >= 2 && entry.Shape[0] <= int.MaxValue && entry.Count / Math.Max(1, entry.Shape[0]) is > 0 and <= int.MaxValue
                && entry.Type is SafetensorsType.F32 or SafetensorsType.BF16 or SafetensorsType.F16 or SafetensorsType.I8;
            return fits ? entry : throw Broken($"{InputFile.Quote(point)} is {entry.Type} [{string.Join(", ", entry.Shape)}]; expected rows for tokens");
        }

        private SafetensorsEntry Entry(string name) => _file.Tensors.TryGetValue(name, out SafetensorsEntry? entry)
            ? entry
            : throw new InvalidFileException(
                _file.Path, $"has no tensor {InputFile.Quote(name)}", "Name a point that was captured, or capture it: interp capture --points.");

        /// <summary>The token of each row.</summary>
        private int[] Tokens()
        {
            long[] Integers(string name) => Entry(name).ToIntegers();
            long[] ids = Integers(ShardLayout.InputIds), inputs = Integers(ShardLayout.InputOffsets), rows = Integers(ShardLayout.SequenceOffsets);
            long[] positions = Integers(ShardLayout.Positions);
            var tokens = new int[positions.Length];
            bool proper = inputs.Length == rows.Length && rows.Length > 0 && rows[0] == 0 && rows[^1] == positions.Length;
            for (int s = 0; proper && s + 1 < rows.Length; s++)
            {
                proper = rows[s] <= rows[s + 1] && rows[s + 1] <= positions.Length;
                for (long row = rows[s]; proper && row < rows[s + 1]; row++)
                {
                    long token = inputs[s] + positions[row];
                    proper = positions[row] >= 0 && inputs[s] >= 0 && token < inputs[s + 1] && token < ids.Length && ids[token] is >= 0 and <= int.MaxValue;
                    tokens[row] = proper ? (int)ids[token] : 0;
                }
            }

            return proper ? tokens : throw Broken("its offsets and positions do not fit together");
        }

        private InvalidFileException Broken(string defect) => new(_file.Path, defect, "Capture it again.");
    }
}
