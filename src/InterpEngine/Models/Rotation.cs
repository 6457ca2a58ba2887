using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>The rotary tables of one run, and each token's row in them.</summary>
internal sealed record Rotation(RotaryTables.Rows Tables, Tensor Positions) : IDisposable
{
    /// <param name="device">Where it runs.</param>
    /// <param name="tables">The model's tables.</param>
    /// <param name="totals">Real tokens of each sequence, those in its cache included.</param>
    /// <param name="positions">[batch · positions]: each token's position in its sequence, −1 at padding.</param>
    public static Rotation Of(Device device, RotaryTables tables, int[] totals, int[] positions)
    {
        RotaryTables.Rows rows = tables.For(totals);
        int length = positions.Length / totals.Length;
        int[] at = [.. positions.Select((position, i) => position < 0 ? -1 : position + rows.FirstRow[i / length])];
        return new Rotation(rows, device.Upload<int>(at, at.Length));
    }

    public void Dispose()
    {
        Tables.Dispose();
        Positions.Dispose();
    }
}
