using CsCheck;

namespace InterpEngine.Kernels.Tests.Memory;

public sealed class ShapeTests
{
    private static readonly Gen<int[]> Axes = Gen.Int[0, 9].Array[0, 6];

    [Fact]
    public void Rows_times_columns_is_the_count() => Axes.Sample(axes =>
    {
        var shape = new Shape(axes);
        Assert.Equal(axes.Aggregate(1L, (count, axis) => count * axis), shape.Count);
        Assert.Equal(shape.Count, shape.Rows * shape.Columns);
        Assert.Equal(axes, shape.Axes);
        Assert.Equal(axes.Length, shape.Rank);
    });

    [Fact]
    public void Shapes_are_equal_when_their_axes_are() => Gen.Select(Axes, Axes).Sample((left, right) =>
    {
        Shape a = new(left), b = new(right);
        Assert.Equal(left.SequenceEqual(right), a == b);
        Assert.NotEqual(a == b, a != b);
        Assert.True(a.Equals((object)new Shape(left)));
        Assert.Equal(new Shape(left).GetHashCode(), a.GetHashCode());
    });

    [Fact]
    public void The_default_is_a_scalar()
    {
        Assert.Equal(new Shape(), default);
        Assert.Equal(1, default(Shape).Count);
        Assert.Equal(1, default(Shape).Columns);
        Assert.Equal("[]", default(Shape).ToString());
        Assert.Equal("[2, 7, 32]", new Shape(2, 7, 32).ToString());
    }

    [Fact]
    public void An_axis_is_not_negative() => Assert.Throws<ArgumentOutOfRangeException>(() => new Shape(2, -1));

    [Fact]
    public void A_count_that_overflows_is_refused() =>
        Assert.ThrowsAny<Exception>(() => new Shape(int.MaxValue, int.MaxValue, int.MaxValue));
}
