using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>
/// Token ids from a file: <c>input_ids</c> [b, p] and optionally <c>attention_mask</c> [b, p], in a safetensors file or a JSON
/// object. A one-dimensional list is one sequence, and the JSON may be that list itself.
/// </summary>
internal sealed class TokenFile
{
    private const string Ids = "input_ids";
    private const string Mask = "attention_mask";
    private const string Expected =
        "expected 'input_ids' [batch, positions] and, where it is padded, 'attention_mask' of the same shape";

    private readonly string _path;
    private readonly int[][] _ids;
    private readonly int[][]? _mask;

    private TokenFile(string path, int[][] ids, int[][]? mask)
    {
        (_path, _ids, _mask) = (path, ids, mask);
        if (ids.Length == 0 || ids[0].Length == 0)
        {
            throw Invalid("input_ids has no tokens", "Give at least one token.");
        }

        Check(Ids, ids, value => value >= 0, "a token id, an integer from 0 to 2³¹ − 1");
        if (mask is not null)
        {
            Check(Mask, mask, value => value is 0 or 1, "0 or 1");
        }
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidFileException">It is missing, broken, or holds something else.</exception>
    public static TokenFile Load(string path) => path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)
        ? LoadSafetensors(path)
        : LoadJson(path);

    /// <summary>All sequences as they stand, padding included.</summary>
    /// <exception cref="ModelException">A row's mask is not one unbroken run.</exception>
    public TokenBatch ToBatch()
    {
        int[] ids = [.. _ids.SelectMany(row => row)];
        return _mask is null
            ? TokenBatch.Rectangle(ids, _ids.Length, _ids[0].Length)
            : TokenBatch.Masked(ids, _ids.Length, _ids[0].Length, [.. _mask.SelectMany(row => row).Select(value => value == 1)]);
    }

    private void Check(string name, int[][] rows, Func<int, bool> allowed, string expected)
    {
        if (rows.Length != _ids.Length)
        {
            throw Invalid($"{name} has {rows.Length} rows, but {Ids} has {_ids.Length}", "Both need the same shape.");
        }

        for (int row = 0; row < rows.Length; row++)
        {
            if (rows[row].Length != _ids[0].Length)
            {
                throw Invalid(
                    $"row {row} of {name} has {rows[row].Length} entries; expected {_ids[0].Length}, as in row 0 of {Ids}",
                    "Pad shorter sequences and mark the padding with zeros in 'attention_mask'.");
            }

            int wrong = Array.FindIndex(rows[row], value => !allowed(value));
            if (wrong >= 0)
            {
                throw Invalid($"{name}[{row}][{wrong}] is {rows[row][wrong]}; expected {expected}");
            }
        }
    }

    private static TokenFile LoadSafetensors(string path)
    {
        using var file = SafetensorsFile.Open(path);
        if (!file.Tensors.TryGetValue(Ids, out SafetensorsEntry? ids))
        {
            throw new InvalidFileException(path, $"has no tensor '{Ids}'; {Expected}");
        }

        bool masked = file.Tensors.TryGetValue(Mask, out SafetensorsEntry? mask);
        return new TokenFile(path, Rows(path, ids), masked ? Rows(path, mask!) : null);
    }

    private static int[][] Rows(string path, SafetensorsEntry entry)
    {
        if (entry.Shape.Length is not (1 or 2))
        {
            throw new InvalidFileException(path, $"{entry} has {entry.Shape.Length} axes; {Expected}");
        }

        long[] values = entry.ToIntegers();
        int columns = (int)entry.Shape[^1];
        int outside = Array.FindIndex(values, value => value is < 0 or > int.MaxValue);
        if (outside >= 0)
        {
            throw new InvalidFileException(
                path,
                $"{entry.Name}[{outside / columns}][{outside % columns}] is {values[outside]}; "
                + "expected an integer from 0 to 2³¹ − 1");
        }

        return columns == 0 ? [] : [.. values.Select(value => (int)value).Chunk(columns)];
    }

    private static TokenFile LoadJson(string path)
    {
        using JsonDocument document = JsonStrict.Load(path);
        JsonElement root = document.RootElement;
        if (root.ValueKind == JsonValueKind.Array)
        {
            return new TokenFile(path, Rows(path, Ids, root), null);
        }

        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty(Ids, out JsonElement ids))
        {
            throw new InvalidFileException(path, $"has no '{Ids}'; {Expected}");
        }

        bool masked = root.TryGetProperty(Mask, out JsonElement mask) && mask.ValueKind != JsonValueKind.Null;
        return new TokenFile(path, Rows(path, Ids, ids), masked ? Rows(path, Mask, mask) : null);
    }

    private static int[][] Rows(string path, string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw new InvalidFileException(path, $"{name} is no list; {Expected}");
        }

        bool nested = value.GetArrayLength() > 0 && value[0].ValueKind == JsonValueKind.Array;
        return nested ? [.. value.EnumerateArray().Select((row, i) => Row(path, $"{name}[{i}]", row))] : [Row(path, name, value)];
    }

    private static int[] Row(string path, string name, JsonElement row)
    {
        if (row.ValueKind != JsonValueKind.Array)
        {
            throw new InvalidFileException(path, $"{name} is no list; {Expected}");
        }

        var values = new int[row.GetArrayLength()];
        int at = 0;
        foreach (JsonElement value in row.EnumerateArray())
        {
            values[at] = value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number)
                ? number
                : throw new InvalidFileException(path, $"{name}[{at}] is no integer of 32 bits; {Expected}");
            at++;
        }

        return values;
    }

    private InvalidFileException Invalid(string defect, string? hint = null) => new(_path, defect, hint);
}
