using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>Arguments that do not fit are refused before anything is computed, naming op and argument.</summary>
public sealed class ArgumentTests : IDisposable
{
    private readonly Device _device = Device.Reference();
    private readonly Tensor _small;
    private readonly Tensor _large;
    private readonly Tensor _integers;
    private readonly Weight _weight;

    public ArgumentTests()
    {
        _small = _device.Allocate(ElementType.F32, 2, 3);
        _large = _device.Allocate(ElementType.F32, 4, 3);
        _integers = _device.Allocate(ElementType.I32, 2, 3);
        _weight = _device.CreateWeight(3, 3);
    }

    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    public void Dispose()
    {
        _weight.Dispose();
        _device.Dispose();
    }

    [Fact]
    public void Matrices()
    {
        Refused("Add: A is [4, 3]; expected [2, 3]", () => _device.Run(new Add { A = _large, B = _small, Out = _small }));
        Refused("Add: B is I32", () => _device.Run(new Add { A = _small, B = _integers, Out = _small }));
        Refused("Activate: Multiply", () =>
            _device.Run(new Activate { X = _small, Activation = Activation.Relu, Multiply = _large, Out = _small }));
        Refused("Copy: From", () => _device.Run(new Copy { From = _large, To = _small }));
        foreach (Matrix outside in (Matrix[])
        [
            new(_small, 1, 2, 3, 3), new(_small, 0, 2, 3, 4), new(_small, -1, 2, 3, 3),
            new(_small, 0, 2, 3, -3), new(_small, 0, 3, 3, 3),
        ])
        {
            Refused("Fill: Out reaches past", () => _device.Run(new Fill { Out = outside, Value = 1 }));
        }

        _device.Run(new Fill { Out = new Matrix(_small, 3, 2, 3, 0), Value = 1 });
    }

    [Fact]
    public void Heads()
    {
        Refused("RepeatHeads", () => _device.Run(new RepeatHeads { X = _small, Out = _large }));
        Refused("SumHeads", () => _device.Run(new SumHeads { X = _integers, Out = _small }));
        using Tensor heads = _device.Allocate(ElementType.F32, 2, 5, 3);
        Refused("SumHeads: Bias", () => _device.Run(new SumHeads { X = heads, Bias = _small, Out = _small }));
    }

    [Fact]
    public void Products()
    {
        var op = new MatMul { X = _small, W = _weight, Out = _small };
        Refused("MatMul: Bias", () => _device.Run(op with { Bias = _small }));
        Refused("MatMul: Residual", () => _device.Run(op with { Residual = _large }));
        Refused("MatMul: Delta", () => _device.Run(op with { Delta = _large }));
        Refused("MatMul: a weight [3, 3] has no [3, 3] at (1, 0)", () => _device.Run(op with { InnerStart = 1 }));
        Refused("MatMul: a weight", () => _device.Run(op with { ColumnStart = -1 }));
        Refused("MatMul: a weight", () => _device.Run(op with { ColumnStart = int.MaxValue }));
        Refused("MatMul: a soft cap of -1", () => _device.Run(op with { SoftCap = -1 }));
        using Tensor wide = _device.Allocate(ElementType.F32, 2, 1), heads = _device.Allocate(ElementType.F32, 2, 1, 3);
        using Tensor positions = _device.Allocate(ElementType.I32, 2);
        MatMul rotated = op with { Out = new Matrix(heads, 0, 2, 3, 3), Rotation = new HeadRotation(positions, wide, wide) };
        Refused("MatMul: only the heads", () => _device.Run(rotated with { Activation = Activation.Relu }));
        Refused("MatMul: only the heads", () => _device.Run(rotated with { Residual = Matrix.From(_small) }));
        Refused("MatMul: only the heads", () => _device.Run(rotated with { Out = _small }));
        Refused("MatMul: products", () => _device.Run(op, op with { X = new Matrix(_large, 0, 2, 3, 3) }));
        Refused("Rotary: Positions", () => _device.Run(rotated with { Rotation = new HeadRotation(_integers, wide, wide) }));
        Refused("MatMulTransposed: Out", () => _device.Run(new MatMulTransposed { X = _small, W = _weight, Out = _large }));
        Refused("Embed: Ids", () => _device.Run(new Embed { Ids = _integers, Table = _weight, Out = _small }));
    }

    [Fact]
    public void Norms()
    {
        var op = new Norm { Kind = NormKind.Rms, X = _small, Epsilon = 0 };
        Refused("Norm: Gain", () => _device.Run(op with { Gain = _small }));
        Refused("Norm: GivenScale", () => _device.Run(op with { GivenScale = _small }));
        Refused("Norm: Normalized", () => _device.Run(op with { Normalized = _large }));
        Refused("Norm: Residual", () => _device.Run(op with { Residual = _large }));
        Refused("Norm: Delta", () => _device.Run(op with { Delta = _large }));
        Refused("Norm: Out", () => _device.Run(op with { Out = _large }));
    }

    [Fact]
    public void Logits()
    {
        Refused("LogSoftmax: X", () => _device.Run(new LogSoftmax { X = _large, Out = _small }));
        using Tensor one = _device.Allocate(ElementType.I32, 1), wide = _device.Allocate(ElementType.F32, 2, 4);
        using Tensor indices = _device.Allocate(ElementType.I32, 2, 4);
        Refused("LogProbability: Targets", () => _device.Run(new LogProbability { X = _small, Targets = one, Out = _small }));
        Refused("TopK: values", () => _device.Run(new TopK { X = _small, Values = wide, Indices = indices }));
        Refused("TopK: Indices", () => _device.Run(new TopK { X = _small, Values = _small, Indices = indices }));
    }

    [Fact]
    public void Experts()
    {
        using Tensor wide = _device.Allocate(ElementType.F32, 2, 4), three = _device.Allocate(ElementType.F32, 3);
        using Tensor indices = _device.Allocate(ElementType.I32, 2, 4), two = _device.Upload<int>([0, 4], 2);
        var op = new Route { Logits = _small, Indices = _integers, Weights = _small, Score = RouterScore.Sigmoid };
        Refused("Route: weights", () => _device.Run(op with { Indices = indices, Weights = wide }));
        Refused("Route: Indices", () => _device.Run(op with { Indices = indices }));
        Refused("Route: ChoiceBias", () => _device.Run(op with { ChoiceBias = _small }));
        Refused("Route: 1 of 2 groups", () => _device.Run(op with { Groups = 2 }));
        Refused("Route: 4 of 3 groups", () => _device.Run(op with { Groups = 3, ChosenGroups = 4 }));
        Refused("neither groups nor a bias", () => _device.Run(op with { Score = RouterScore.Softmax, ChoiceBias = three }));
        Refused("GatherRows: Indices", () => _device.Run(new GatherRows { From = _large, Indices = _integers, Out = _small }));
        Refused("GatherRows: From", () => _device.Run(new GatherRows { From = wide, Indices = two, Out = _small }));
        Refused("CombineRows: Indices", () =>
            _device.Run(new CombineRows { X = _large, Indices = two, Weights = _small, Out = _small }));
        Refused("CombineRows: weights", () =>
            _device.Run(new CombineRows { X = _large, Indices = _integers, Weights = _small, Out = _large }));
        Refused("ClampedSwiglu: a limit of 0", () =>
            _device.Run(new ClampedSwiglu { Gate = _small, Up = _small, Alpha = 1, Limit = 0, Out = _small }));
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Indices_past_the_rows(string device)
    {
        // A GPU tells whoever reads next of a bad index: on a shared one that may be another test.
        using Device? own = device == Devices.Simulated ? new GpuDevice(SimulatedPlatform.Create()) : null;
        Device on = own ?? Devices.All[device].Value;
        using Tensor x = on.Upload<float>([1, 2, 3, 4], 4, 1), y = on.Upload<float>([1, 2], 2, 1), indices = on.Upload<int>([0, 4], 2);
        Refused("GatherRows: an index lies past", () =>
        {
            on.Run(new GatherRows { From = x, Indices = indices, Out = y });
            on.Synchronize(); // where the device alone sees the indices
        });
        Refused("CombineRows: an index lies past", () =>
        {
            on.Run(new CombineRows { X = x, Indices = indices, Weights = y, Out = y });
            on.Synchronize();
        });
        on.Synchronize();
    }

    [Fact]
    public void Rotations()
    {
        using Tensor x = _device.Allocate(ElementType.F32, 5, 2, 3), table = _device.Allocate(ElementType.F32, 9, 2);
        using Tensor narrow = _device.Allocate(ElementType.F32, 9, 1);
        var op = new Rotary { X = x, Positions = _integers, Cos = narrow, Sin = narrow, Out = x };
        Refused("Rotary: Positions", () => _device.Run(op));
        Refused("Rotary: tables", () => _device.Run(op with { Cos = table, Sin = table }));
        Refused("Rotary: Sin", () => _device.Run(op with { Sin = table }));
        Refused("Rotary: Out", () => _device.Run(op with { Out = _small }));
    }

    [Fact]
    public void Attentions()
    {
        using Tensor q = _device.Allocate(ElementType.F32, 1, 2, 4, 8), k = _device.Allocate(ElementType.F32, 1, 6, 2, 8);
        using Tensor spans = _device.Upload<int>([0, 6], 1, 2);
        using Tensor odd = _device.Allocate(ElementType.F32, 1, 6, 3, 8);
        var op = new Attention { Q = q, K = k, V = k, Keys = 6, Spans = spans, Scale = 1 };
        Refused("do not fit together", () => _device.Run(op with { K = odd, V = odd }));
        Refused("do not fit together", () => _device.Run(op with { V = odd }));
        Refused("need four axes", () => _device.Run(op with { Q = _small }));
        Refused("7 keys", () => _device.Run(op with { Keys = 7 }));
        Refused("1 keys", () => _device.Run(op with { Keys = 1 }));
        Refused("a window of -1", () => _device.Run(op with { Window = -1 }));
        Refused("a soft-cap of -1", () => _device.Run(op with { SoftCap = -1 }));
        Refused("a soft-cap of NaN", () => _device.Run(op with { SoftCap = float.NaN }));
        Refused("Slopes", () => _device.Run(op with { Slopes = k }));
        Refused("Sinks", () => _device.Run(op with { Sinks = k }));
        Refused("Spans", () => _device.Run(op with { Spans = _integers }));
        Refused("scores or pattern", () => _device.Run(op with { Pattern = _small }));
        Refused("Attention: Z", () => _device.Run(op with { Z = k }));
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void Disposed_tensors(string device)
    {
        Device on = Devices.All[device].Value;
        using Tensor kept = on.Upload<float>([1, 2], 1, 2);
        Tensor gone = on.Upload<float>([1, 2], 1, 2);
        gone.Dispose();
        Assert.Throws<ObjectDisposedException>(() => on.Run(new Add { A = kept, B = gone, Out = kept }));
        Assert.Throws<ObjectDisposedException>(() => on.Run(new Fill { Out = gone, Value = 3 }));
        Assert.Throws<ObjectDisposedException>(() => on.Run(new Norm { Kind = NormKind.Rms, X = gone, Epsilon = 1, Out = kept }));
        Assert.Throws<ObjectDisposedException>(() => on.Run(new LogSoftmax { X = kept, Out = gone }));
    }

    private static void Refused(string expected, Action action) =>
        Assert.Contains(expected, Assert.ThrowsAny<ArgumentException>(action).Message, StringComparison.Ordinal);
}
