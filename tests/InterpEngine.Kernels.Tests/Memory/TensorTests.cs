namespace InterpEngine.Kernels.Tests.Memory;

public sealed class TensorTests
{
    private static readonly Device Device = Device.Reference();

    [Fact]
    public void Elements_of_every_type_come_back()
    {
        RoundTrip<float>([1.5f, float.NaN, -0f]);
        RoundTrip<double>([1.5, double.NegativeInfinity, 0.1]);
        RoundTrip([(Half)1.5f, Half.NaN, Half.Epsilon]);
        RoundTrip<sbyte>([-128, 0, 127]);
        RoundTrip<byte>([0, 1, 255]);
        RoundTrip<short>([short.MinValue, 0, 7]);
        RoundTrip<int>([int.MinValue, 0, 7]);
        RoundTrip<long>([long.MinValue, 0, 7]);
    }

    [Fact]
    public void BF16_comes_as_any_type_of_its_size()
    {
        using Tensor tensor = Device.Allocate(ElementType.BF16, 2);
        tensor.CopyFrom<ushort>([0x3F80, 0xFF80]);
        Assert.Equal([0x3F80, 0xFF80], tensor.ToArray<ushort>());
        Assert.Throws<ArgumentException>(() => tensor.ToArray<float>());
    }

    [Fact]
    public void Slices_and_reshapes_see_the_same_memory()
    {
        using Tensor tensor = Device.Upload<int>([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 3, 2, 2);
        using Tensor slice = tensor.Slice(1, 2);
        using Tensor matrix = slice.Reshape(4, 2);
        using Tensor row = matrix.Slice(3, 1);
        Assert.Equal(new Shape(1, 2), row.Shape);
        Assert.Equal([10, 11], row.ToArray<int>());
        row.CopyFrom<int>([-1, -2]);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -2], tensor.ToArray<int>());
        using Tensor nothing = tensor.Slice(3, 0);
        Assert.Empty(nothing.ToArray<int>());
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, -1)]
    [InlineData(3, 1)]
    [InlineData(1, 3)]
    [InlineData(int.MaxValue, int.MaxValue)]
    [InlineData(1, int.MaxValue)]
    public void A_slice_must_lie_in_the_first_axis(int start, int length)
    {
        using Tensor tensor = Device.Allocate(ElementType.F32, 3, 2);
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.Slice(start, length));
    }

    [Fact]
    public void A_scalar_has_one_element_and_no_slices()
    {
        using Tensor scalar = Device.Upload<float>([7]);
        Assert.Equal(0, scalar.Shape.Rank);
        Assert.Equal([7], scalar.ToArray<float>());
        Assert.Throws<ArgumentOutOfRangeException>(() => scalar.Slice(0, 1));
    }

    [Fact]
    public void A_reshape_keeps_the_count()
    {
        using Tensor tensor = Device.Allocate(ElementType.F32, 3, 2);
        Assert.Contains("[3, 2]", Assert.Throws<ArgumentException>(() => tensor.Reshape(7)).Message);
    }

    [Fact]
    public void Types_and_lengths_must_match()
    {
        using Tensor tensor = Device.Allocate(ElementType.F32, 3);
        Assert.Throws<ArgumentException>(() => tensor.CopyFrom<float>([1, 2]));
        Assert.Throws<ArgumentException>(() => tensor.CopyFrom<int>([1, 2, 3]));
        Assert.Throws<ArgumentException>(() => tensor.CopyTo<float>(new float[4]));
        Assert.Throws<ArgumentException>(() => tensor.ToArray<double>());
        Assert.Throws<ArgumentException>(() => Device.Upload<float>([1, 2, 3], 2, 2));
        Assert.Throws<NotSupportedException>(() => Device.Upload<char>(['a'], 1));
    }

    [Fact]
    public void A_disposed_tensor_is_refused()
    {
        Tensor tensor = Device.Upload<float>([1, 2], 2);
        tensor.Dispose();
        Assert.Throws<ObjectDisposedException>(() => tensor.Address);
        Assert.Throws<ObjectDisposedException>(() => tensor.ToArray<float>());
        Assert.Throws<ObjectDisposedException>(() => tensor.CopyFrom<float>([1, 2]));
        Assert.Throws<ObjectDisposedException>(tensor.Share);
        Assert.Throws<ObjectDisposedException>(() => tensor.Slice(0, 1));
        Assert.Throws<ObjectDisposedException>(() => tensor.Reshape(1, 2));
    }

    [Fact]
    public void Buffers_begin_on_cache_lines()
    {
        for (int n = 0; n < 9; n++)
        {
            using Tensor tensor = Device.Allocate(ElementType.F32, n * 123);
            Assert.Equal(0, tensor.Address % HostDevice.Alignment);
        }
    }

    private static void RoundTrip<T>(T[] elements) where T : unmanaged
    {
        using Tensor tensor = Device.Upload<T>(elements, 1, elements.Length);
        Assert.Equal(ElementTypes.Of<T>(), tensor.Type);
        Assert.Equal(tensor.Type.Size() * elements.Length, tensor.Bytes);
        Assert.Equal(elements, tensor.ToArray<T>());
    }
}
