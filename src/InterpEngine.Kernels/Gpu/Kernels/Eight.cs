using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Eight numbers at equal distances, which are on their way at the same time: a loop of single loads waits for each.</summary>
internal struct Eight
{
    public float V0, V1, V2, V3, V4, V5, V6, V7;

    public static Eight Load(ArrayView<float> from, long at, long stride) => new()
    {
        V0 = from[at],
        V1 = from[at + stride],
        V2 = from[at + 2 * stride],
        V3 = from[at + 3 * stride],
        V4 = from[at + 4 * stride],
        V5 = from[at + 5 * stride],
        V6 = from[at + 6 * stride],
        V7 = from[at + 7 * stride],
    };

    public readonly void Store(ArrayView<float> to, long at, long stride)
    {
        to[at] = V0;
        to[at + stride] = V1;
        to[at + 2 * stride] = V2;
        to[at + 3 * stride] = V3;
        to[at + 4 * stride] = V4;
        to[at + 5 * stride] = V5;
        to[at + 6 * stride] = V6;
        to[at + 7 * stride] = V7;
    }

    /// <summary>The largest of them and one before; NaN only where all are.</summary>
    public readonly float Max(float before)
    {
        float max = Elementary.Max(Elementary.Max(Elementary.Max(Elementary.Max(before, V0), V1), V2), V3);
        return Elementary.Max(Elementary.Max(Elementary.Max(Elementary.Max(max, V4), V5), V6), V7);
    }

    /// <summary>One number and then each of them, added up.</summary>
    public readonly float Sum(float before) => before + V0 + V1 + V2 + V3 + V4 + V5 + V6 + V7;

    /// <summary>e to the power of each minus the largest.</summary>
    public readonly Eight Exp(float largest) => new()
    {
        V0 = Elementary.Exp(V0 - largest),
        V1 = Elementary.Exp(V1 - largest),
        V2 = Elementary.Exp(V2 - largest),
        V3 = Elementary.Exp(V3 - largest),
        V4 = Elementary.Exp(V4 - largest),
        V5 = Elementary.Exp(V5 - largest),
        V6 = Elementary.Exp(V6 - largest),
        V7 = Elementary.Exp(V7 - largest),
    };

    public readonly Eight Times(float factor) => new()
    {
        V0 = V0 * factor,
        V1 = V1 * factor,
        V2 = V2 * factor,
        V3 = V3 * factor,
        V4 = V4 * factor,
        V5 = V5 * factor,
        V6 = V6 * factor,
        V7 = V7 * factor,
    };
}
