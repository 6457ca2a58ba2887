using System.Runtime.ExceptionServices;

namespace InterpEngine.Kernels.Reference;

/// <summary>
/// Every op in plain C#: sums in double precision, each stage of an op rounded to float once, where its contract lets an
/// intervention split it. The judge of the other devices, and what computes where there is no native library.
/// </summary>
/// <remarks>
/// Each output element is summed in index order from its own inputs alone, so here too neither the batch nor the threads matter.
/// </remarks>
public sealed unsafe partial class ReferenceDevice : HostDevice
{
    /// <inheritdoc/>
    public override string Name => "reference";

    /// <inheritdoc/>
    public override Weight CreateWeight(int inner, int columns, ElementType type = ElementType.F32) =>
        new ReferenceWeight(type, inner, columns);

    /// <inheritdoc/>
    public override void Pack(Weight weight, in WeightBlock block) => Own(weight).Pack(in block);

    private static ReferenceWeight Own(Weight weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        return weight as ReferenceWeight
            ?? throw new ArgumentException(
                $"The weight [{weight.Inner}, {weight.Columns}] is another device's; create it on this one.");
    }

    /// <summary>Runs on all processors; what a body throws is thrown as it is.</summary>
    private static void ForEach(int count, Action<int> body)
    {
        try
        {
            Parallel.For(0, count, body);
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.Flatten().InnerExceptions[0]);
        }
    }

    private static Span<float> Row(in Matrix matrix, int row) =>
        new((float*)matrix.Address + row * matrix.Stride, matrix.Columns);

    /// <summary>The row of the last axis that begins <paramref name="start"/> elements into a tensor.</summary>
    private static Span<float> Row(Tensor tensor, long start) => new((float*)tensor.Address + start, tensor.Shape[^1]);

    private static Span<T> All<T>(Tensor tensor) where T : unmanaged => new((T*)tensor.Address, checked((int)tensor.Shape.Count));
}
