namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>Recorded ops do what they do unrecorded, as often as they are run, and share their buffers with nobody.</summary>
public sealed class RecordingTests
{
    private const int Tokens = 3, Width = 24, Vocabulary = 40, Top = 5;

    public static IEnumerable<TheoryDataRow<string>> DeviceNames() => Devices.Names();

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_run_is_that_of_the_ops(string name)
    {
        using Device device = Devices.OpenAnew(name);
        using (var run = new OpRun(device, 31))
        {
            Weight table = run.Weight(run.Values(Width * Vocabulary), Width, Vocabulary);
            Weight weight = run.Weight(run.Values(Width * Vocabulary), Width, Vocabulary, ElementType.BF16);
            Tensor bias = run.Tensor(run.Values(Vocabulary), Vocabulary), input = run.Tensor(new int[Tokens], Tokens);
            Tensor[] Body() => Likeliest(device, table, weight, bias, input);
            using (Recording recording = device.Record(input, Body))
            {
                Assert.Throws<InvalidOperationException>(() => recording.Output<float>(0));
                foreach (int[] ids in (int[][])[[1, 7, 39], [0, 0, 5], [1, 7, 39]])
                {
                    input.CopyFrom<int>(ids);
                    Tensor[] outputs = Body();
                    float[] values = outputs[0].ToArray<float>();
                    int[] indices = outputs[1].ToArray<int>();
                    recording.Run(ids);

                    // What others do meanwhile in buffers of the same size disturbs neither side.
                    using Tensor other = device.Allocate(ElementType.F32, Tokens, Vocabulary);
                    device.Run(new Fill { Out = other, Value = 7 });
                    Assert.Equal(values, recording.Output<float>(0));
                    Assert.Equal(indices, recording.Output<int>(1));
                    recording.Run(ids);
                    Assert.All(other.ToArray<float>(), value => Assert.Equal(7, value));
                    outputs[0].Dispose();
                    outputs[1].Dispose();
                }

                Assert.ThrowsAny<ArgumentException>(() => recording.Run([1]));
                Assert.Throws<ArgumentException>(() => recording.Run([1, Vocabulary, 2]));
                recording.Run([1, 2, 3]); // the fault is forgotten
            }
        }

        device.Arena.Trim();
        Assert.Equal(0, device.Arena.LiveBytes);
        Assert.Equal(0, device.Arena.ReservedBytes);
    }

    [Theory]
    [MemberData(nameof(DeviceNames))]
    public void A_body_that_throws_leaves_the_device_as_it_was(string name)
    {
        using Device device = Devices.OpenAnew(name);
        using Tensor input = device.Upload<int>([0], 1), filled = device.Allocate(ElementType.F32, 4);
        var thrown = Assert.Throws<OperationCanceledException>(() =>
        {
            using Recording recording = device.Record(input, () =>
            {
                using Tensor some = device.Allocate(ElementType.F32, 1000);
                device.Run(new Fill { Out = some, Value = 1 });
                throw new OperationCanceledException();
            });
            recording.Run([0]);
        });
        Assert.NotNull(thrown);
        device.Run(new Fill { Out = filled, Value = 3 });
        Assert.Equal([3, 3, 3, 3], filled.ToArray<float>());
    }

    private static Tensor[] Likeliest(Device device, Weight table, Weight weight, Tensor bias, Tensor ids)
    {
        using Tensor x = device.Allocate(ElementType.F32, Tokens, Width), logits = device.Allocate(ElementType.F32, Tokens, Vocabulary);
        device.Run(new Embed { Ids = ids, Table = table, Out = x });
        device.Run(new MatMul { X = x, W = weight, Bias = bias, Out = logits });
        Tensor values = device.Allocate(ElementType.F32, Tokens, Top), indices = device.Allocate(ElementType.I32, Tokens, Top);
        device.Run(new TopK { X = logits, Values = values, Indices = indices });
        return [values, indices];
    }
}
