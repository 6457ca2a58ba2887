namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>
/// The k largest of a row are those of its whole product, to the bit, though a device may round that product first to find them: on rows
/// that rounding treats badly too.
/// </summary>
public sealed class SelectionTests
{
    private const int Rows = 140, Inner = 77, Columns = 1003;

    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names().Where(row => !Devices.IsGpu(row.Data));

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Largest_of_the_whole_product(string device)
    {
        Compare(device, finite: true);
        Compare(device, finite: false);
    }

    private static void Compare(string device, bool finite)
    {
        using var run = new OpRun(Devices.All[device].Value, 9);
        float[] x = run.Values(Rows * Inner), w = run.Values(Columns * Inner), bias = run.Values(Columns), scale = run.Values(Columns);
        float[] threshold = [.. run.Values(Columns).Select(value => 3 * value)], offset = run.Values(Inner);
        SpoilRows(x, finite);
        w.AsSpan(5 * Inner, Inner).Fill(1e18f);
        w.AsSpan(6 * Inner, Inner).Clear();
        w.AsSpan(7 * Inner, Inner).Fill(1e-41f);
        w.AsSpan(8 * Inner, Inner).CopyTo(w.AsSpan(900 * Inner)); // a tie
        int[] chosen = [.. Enumerable.Range(0, Columns).Where(c => c % 5 != 3)];
        foreach (Selection selection in (Selection[])[Selection.TopK, Selection.TopMagnitude])
        {
            foreach (int k in (int[])[2, 23])
            {
                var plain = new SparseEncode { X = run.Matrix(x, Rows, Inner, Layout.Odd), Selection = selection, K = k, Out = null! };
                SparseEncode packed = plain with { W = run.Weight(Turned(w), Inner, Columns) };
                SparseEncode directions = plain with { Directions = run.Matrix(w, Columns, Inner, Layout.Odd), DirectionsType = ElementType.F32 };
                Compare(run, packed);
                Compare(run, directions);
                Compare(run, directions with { Offset = run.Tensor(offset, Inner), Bias = run.Tensor(bias, Columns) });
                Compare(run, packed with { Scale = run.Tensor(scale, Columns), Threshold = run.Tensor(threshold, Columns) });
                Compare(run, directions with
                {
                    Chosen = run.Tensor(chosen, chosen.Length),
                    Bias = run.Tensor(bias, Columns),
                    Scale = run.Tensor(scale, Columns),
                    Threshold = run.Tensor(threshold, Columns),
                });
            }
        }
    }

    private static void SpoilRows(float[] x, bool finite)
    {
        if (!finite)
        {
            x[3 * Inner] = float.NaN;
            x[4 * Inner + 1] = float.NegativeInfinity;
            x[5 * Inner + 2] = 3e38f;
        }

        x.AsSpan(6 * Inner, Inner).Clear();
        x.AsSpan(7 * Inner, Inner).Fill(1e-39f);
        x.AsSpan(8 * Inner, Inner).Fill(1 + 1f / 256); // halfway between two of BF16
        for (int i = 0; i < 5 * Inner; i++)
        {
            x[9 * Inner + i] *= 1e-20f;
            x[20 * Inner + i] *= 1e14f;
            x[30 * Inner + i] = i % Inner == 40 ? x[30 * Inner + i] : 0;
        }
    }

    /// <summary>As a whole it is made when its entries are asked for.</summary>
    private static void Compare(OpRun run, SparseEncode op)
    {
        int candidates = op.Chosen?.Shape[0] ?? Columns;
        using Tensor pre = run.Device.Allocate(ElementType.F32, Rows, candidates);
        (int[] Pointers, int[] Columns, int[] Values) whole = Encode(run, op with { Pre = pre });
        (int[] pointers, int[] columns, int[] values) = Encode(run, op);
        Assert.Equal(whole.Pointers, pointers);
        Assert.Equal(whole.Columns, columns);
        Assert.Equal(whole.Values, values);
        if (op.Threshold is null)
        {
            Assert.Equal(Rows * op.K, columns.Length);
        }
    }

    private static (int[] Pointers, int[] Columns, int[] Values) Encode(OpRun run, SparseEncode op)
    {
        using var rows = new SparseRows(
            Columns, run.Device.Allocate(ElementType.I32, Rows + 1), run.Device.Allocate(ElementType.I32, Rows * op.K),
            run.Device.Allocate(ElementType.F32, Rows * op.K));
        run.Device.Run(op with { Out = rows });
        int[] pointers = rows.RowPointers.ToArray<int>();
        return (pointers, rows.Indices.ToArray<int>()[..pointers[^1]],
            [.. rows.Values.ToArray<float>()[..pointers[^1]].Select(value => float.IsNaN(value) ? -1 : BitConverter.SingleToInt32Bits(value))]);
    }

    private static float[] Turned(float[] w) =>
        [.. from i in Enumerable.Range(0, Inner) from c in Enumerable.Range(0, Columns) select w[c * Inner + i]];
}
