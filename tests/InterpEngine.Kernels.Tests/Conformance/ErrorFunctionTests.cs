using InterpEngine.Kernels.Reference;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>The reference's own error function, against published values.</summary>
public sealed class ErrorFunctionTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1e-10, 1.1283791670955126e-10)]
    [InlineData(0.1, 0.1124629160182849)]
    [InlineData(0.5, 0.5204998778130465)]
    [InlineData(1, 0.8427007929497149)]
    [InlineData(1.5, 0.9661051464753107)]
    [InlineData(2, 0.9953222650189527)]
    [InlineData(3, 0.9999779095030014)]
    [InlineData(double.PositiveInfinity, 1)]
    public void Erf(double x, double expected)
    {
        Assert.Equal(expected, ReferenceDevice.Erf(x), 1e-15 * expected);
        Assert.Equal(-expected, ReferenceDevice.Erf(-x), 1e-15 * expected);
    }

    [Theory]
    [InlineData(-1, 1.8427007929497149)]
    [InlineData(0, 1)]
    [InlineData(0.5, 0.4795001221869535)]
    [InlineData(2, 4.677734981047266e-3)]
    [InlineData(3, 2.209049699858544e-5)]
    [InlineData(5, 1.5374597944280349e-12)]
    [InlineData(10, 2.088487583762545e-45)]
    [InlineData(double.PositiveInfinity, 0)]
    public void Erfc(double x, double expected) => Assert.Equal(expected, ReferenceDevice.Erfc(x), 3e-15 * expected);

    [Fact]
    public void Nan_stays()
    {
        Assert.Equal(double.NaN, ReferenceDevice.Erf(double.NaN));
        Assert.Equal(double.NaN, ReferenceDevice.Erfc(double.NaN));
    }
}
