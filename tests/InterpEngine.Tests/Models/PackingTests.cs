using System.Runtime.InteropServices;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>Matrices of several pieces, read by several threads, and files that change under the reader.</summary>
public sealed class PackingTests
{
    private const int Inputs = 333, Outputs = 1500;

    public static TheoryData<bool, ElementType, int, int, int, int> Cases()
    {
        var data = new TheoryData<bool, ElementType, int, int, int, int>();
        foreach (bool inputsFirst in (bool[])[false, true])
        {
            foreach (ElementType type in (ElementType[])[ElementType.F32, ElementType.BF16, ElementType.I8])
            {
                data.Add(inputsFirst, type, 1, Outputs, 0, Outputs);
                data.Add(inputsFirst, type, 3, Outputs / 3, 130, 270);
                data.Add(inputsFirst, type, Outputs / 2, 2, 1, 1);
            }
        }

        return data;
    }

    /// <summary>Whether pieces end inside a group of a fused matrix or between two, and whoever packs them, every element arrives.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public unsafe void A_matrix_packed_in_pieces_is_the_matrix_packed_at_once(
        bool inputsFirst, ElementType type, int groups, int groupSize, int start, int size)
    {
        var random = new Random(1);
        float[] stored = [.. Enumerable.Range(0, Inputs * Outputs).Select(_ => random.NextSingle() - 0.5f)];
        using var folder = new TemporaryFolder();
        using SafetensorsFile file = Write(folder["a.safetensors"], stored, inputsFirst);
        var wanted = new float[groups * size * Inputs]; // [outputs, inputs]
        for (int i = 0; i < wanted.Length; i++)
        {
            int output = i / Inputs / size * groupSize + start + i / Inputs % size, input = i % Inputs;
            wanted[i] = stored[inputsFirst ? input * Outputs + output : output * Inputs + input];
        }

        using Device device = Device.Cpu(3);
        using Weight once = device.CreateWeight(Inputs, groups * size, type), pieces = device.CreateWeight(Inputs, groups * size, type);
        fixed (float* values = wanted)
        {
            device.Pack(once, new WeightBlock((nint)values, ElementType.F32, Inputs, groups * size, 1, Inputs));
        }

        var queue = new PackingQueue();
        queue.Add(pieces, new FusedPart(groups, groupSize, start, size), file.Tensors["a"], 0, inputsFirst);
        queue.Run(device, null, TestContext.Current.CancellationToken);
        Assert.Equal(Columns(device, once), Columns(device, pieces));
    }

    [Fact]
    public void A_file_cut_short_after_it_was_opened_is_refused_by_name()
    {
        using var folder = new TemporaryFolder();
        string path = folder["a.safetensors"];
        using SafetensorsFile file = Write(path, new float[Inputs * Outputs], inputsFirst: false);
        using (var other = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            other.SetLength(Inputs * Outputs);
        }

        using Device device = Device.Cpu(2);
        using Weight weight = device.CreateWeight(Inputs, Outputs);
        var queue = new PackingQueue();
        queue.Add(weight, new FusedPart(1, Outputs, 0, Outputs), file.Tensors["a"], 0, inputsFirst: false);
        var refused = Assert.Throws<InvalidFileException>(() => queue.Run(device, null, TestContext.Current.CancellationToken));
        Assert.Equal(path, refused.Path);
        Assert.Contains("became shorter", refused.Message, StringComparison.Ordinal);
        Assert.Throws<InvalidFileException>(() => file.Tensors["a"].ToSingles());
    }

    [Fact]
    public void Progress_grows_to_the_end_and_loading_can_be_cancelled()
    {
        using var folder = new TemporaryFolder();
        using SafetensorsFile file = Write(folder["a.safetensors"], new float[Inputs * Outputs], inputsFirst: false);
        using Device device = Device.Cpu(2);
        using Weight weight = device.CreateWeight(Inputs, Outputs);
        using var cancellation = new CancellationTokenSource();
        var queue = new PackingQueue();
        queue.Add(weight, new FusedPart(1, Outputs, 0, Outputs), file.Tensors["a"], 0, inputsFirst: false);
        var seen = new Reports();
        queue.Run(device, seen, cancellation.Token);
        Assert.Equal(seen.Shares.Order(), seen.Shares);
        Assert.True(seen.Shares.Count > 1);
        Assert.Equal(1, seen.Shares[^1]);
        cancellation.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => queue.Run(device, null, cancellation.Token));
    }

    private static SafetensorsFile Write(string path, float[] values, bool inputsFirst)
    {
        using (var writer = new SafetensorsWriter(path, [inputsFirst
            ? new SafetensorsDeclaration("a", SafetensorsType.F32, Inputs, Outputs)
            : new SafetensorsDeclaration("a", SafetensorsType.F32, Outputs, Inputs)]))
        {
            writer.Write("a", MemoryMarshal.AsBytes<float>(values));
            writer.Complete();
        }

        return SafetensorsFile.Open(path);
    }

    private static float[] Columns(Device device, Weight weight)
    {
        using Tensor ids = device.Upload<int>([.. Enumerable.Range(0, weight.Columns)], weight.Columns);
        using Tensor columns = device.Allocate(ElementType.F32, weight.Columns, weight.Inner);
        device.Run(new Embed { Ids = ids, Table = weight, Out = columns });
        return columns.ToArray<float>();
    }

    private sealed class Reports : IProgress<double>
    {
        public List<double> Shares { get; } = [];

        public void Report(double value) => Shares.Add(value);
    }
}
