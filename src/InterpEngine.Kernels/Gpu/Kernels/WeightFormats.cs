using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>How the elements of a weight are stored, and how an element of X is rounded to meet them.</summary>
internal interface IWeightFormat<T> where T : unmanaged
{
    float Read(ArrayView<T> weight, long index);

    /// <summary>Elements index … index + 3, index being a multiple of 4 of an aligned view.</summary>
    Four ReadFour(ArrayView<T> weight, long index);

    float Left(float x);
}

internal readonly struct F32Format : IWeightFormat<float>
{
    public float Read(ArrayView<float> weight, long index) => weight[index];

    public Four ReadFour(ArrayView<float> weight, long index) => weight.Cast<Four>()[index / 4];

    public float Left(float x) => x;
}

internal readonly struct BF16Format : IWeightFormat<ushort>
{
    public float Read(ArrayView<ushort> weight, long index) => Widen(weight[index]);

    public Four ReadFour(ArrayView<ushort> weight, long index)
    {
        FourHalves halves = weight.Cast<FourHalves>()[index / 4];
        return new Four
        {
            A = Widen(halves.AB),
            B = Interop.IntAsFloat(halves.AB & 0xffff0000u),
            C = Widen(halves.CD),
            D = Interop.IntAsFloat(halves.CD & 0xffff0000u),
        };
    }

    public float Left(float x) => Widen(Elementary.RoundBF16(x));

    public static float Widen(uint bits) => Interop.IntAsFloat(bits << 16);
}
