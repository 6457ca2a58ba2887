using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The keys First … End − 1 that a query sees; none if it is padding.</summary>
internal struct VisibleKeys
{
    public int First, End;

    /// <summary>The sequence's first key, from which slopes and the lanes of sums count.</summary>
    public int Begin;

    public static VisibleKeys Of(
        ArrayView<int> spans, int batch, int query, int queries, int keys, int window, int causal)
    {
        int begin = spans[2 * batch], end = spans[2 * batch + 1], position = query + keys - queries;
        var seen = new VisibleKeys { Begin = begin };
        if (position >= begin && position < end)
        {
            int reach = window > 0 ? window : keys;
            seen.First = IntrinsicMath.Max(begin, position - reach + 1);
            seen.End = causal != 0 ? position + 1 : (int)IntrinsicMath.Min(end, (long)position + reach);
        }

        return seen;
    }

    /// <summary>All that queries first … last see together, and perhaps some more where some of them are padding.</summary>
    public static VisibleKeys OfAny(
        ArrayView<int> spans, int batch, int first, int last, int queries, int keys, int window, int causal)
    {
        int begin = spans[2 * batch], end = spans[2 * batch + 1], reach = window > 0 ? window : keys, past = keys - queries;
        return new VisibleKeys
        {
            Begin = begin,
            First = IntrinsicMath.Max(begin, first + past - reach + 1),
            End = (int)IntrinsicMath.Min(end, (long)last + past + (causal != 0 ? 1 : reach)),
        };
    }

    public readonly bool Has(int key) => key >= First && key < End;
}
