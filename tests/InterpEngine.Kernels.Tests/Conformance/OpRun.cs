using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Tests.Conformance;

/// <summary>How a matrix lies in its tensor: elements before the first row and between rows.</summary>
internal readonly record struct Layout(int Offset, int Gap)
{
    public static readonly Layout Dense = new(0, 0);

    /// <summary>No row on a vector boundary.</summary>
    public static readonly Layout Odd = new(3, 5);
}

/// <summary>What an op wrote, and what it should have written.</summary>
/// <param name="Name">Which output.</param>
/// <param name="Values">What was written.</param>
/// <param name="Truth">The true elements with their bounds, evaluated when first needed.</param>
/// <param name="Exact">Whether the bits must be equal.</param>
internal sealed record Output(string Name, float[] Values, Lazy<Approx[]> Truth, bool Exact);

/// <summary>
/// One run of a case on one device: makes inputs (the same for every device), watches outputs, and frees everything at the end.
/// Gaps of inputs hold NaN and gaps of outputs a sentinel, so that touching what is not the op's shows.
/// </summary>
internal sealed class OpRun(Device device, int seed) : IDisposable
{
    private const float Sentinel = -12345.5f;
    private readonly Random _random = new(seed);
    private readonly List<IDisposable> _owned = [];
    private readonly List<Func<Output>> _outputs = [];

    public Device Device => device;

    /// <summary>Uniform in [−1, 1).</summary>
    public float[] Values(int count)
    {
        var values = new float[count];
        foreach (ref float value in values.AsSpan())
        {
            value = _random.NextSingle() * 2 - 1;
        }

        return values;
    }

    /// <summary>Uniform integers below a limit.</summary>
    public int[] Integers(int count, int limit) => [.. Enumerable.Range(0, count).Select(_ => _random.Next(limit))];

    public Tensor Tensor(float[] values, params ReadOnlySpan<int> axes) => Own(device.Upload<float>(values, axes));

    public Tensor Tensor(int[] values, params ReadOnlySpan<int> axes) => Own(device.Upload<int>(values, axes));

    public Matrix Matrix(float[] values, int rows, int columns, Layout layout) =>
        View(values, rows, columns, layout, float.NaN);

    /// <summary>A weight with the given elements, [inner, columns], packed from floats.</summary>
    public Weight Weight(float[] values, int inner, int columns, ElementType type = ElementType.F32)
    {
        Weight weight = Own(device.CreateWeight(inner, columns, type));
        unsafe
        {
            fixed (float* address = values)
            {
                device.Pack(weight, new((nint)address, ElementType.F32, inner, columns, columns, 1));
            }
        }

        return weight;
    }

    public Matrix Output(string name, int rows, int columns, Layout layout, Func<int, int, Approx> truth, bool exact = false)
    {
        Matrix matrix = View(Filled(rows * columns, Sentinel), rows, columns, layout, Sentinel);
        Watch(name, matrix, truth, exact);
        return matrix;
    }

    public Tensor Output(string name, Shape shape, Func<int, Approx> truth, bool exact = false)
    {
        int count = (int)shape.Count;
        Tensor tensor = Tensor(Filled(count, Sentinel), shape.Axes);
        Watch(name, new Matrix(tensor, 0, 1, count, count), (_, i) => truth(i), exact);
        return tensor;
    }

    /// <summary>Integers are compared as floats, exactly: the suite's are small.</summary>
    public Tensor OutputIntegers(string name, Shape shape, Func<int, int> truth)
    {
        Tensor tensor = Tensor(new int[shape.Count], shape.Axes);
        Lazy<Approx[]> truths = Truths((int)shape.Count, i => truth(i));
        _outputs.Add(() => new(name, [.. tensor.ToArray<int>().Select(i => (float)i)], truths, true));
        return tensor;
    }

    /// <summary>Judges a matrix that was an input too.</summary>
    public void Watch(string name, Matrix matrix, Func<int, int, Approx> truth, bool exact = false)
    {
        float[] before = matrix.Tensor.ToArray<float>();
        _outputs.Add(() => new(
            name,
            Elements(name, matrix, before),
            Truths(matrix.Rows * matrix.Columns, i => truth(i / matrix.Columns, i % matrix.Columns)),
            exact));
    }

    public IReadOnlyList<Output> Collect() => [.. _outputs.Select(output => output())];

    public void Dispose() => _owned.ForEach(o => o.Dispose());

    private T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }

    private Matrix View(float[] values, int rows, int columns, Layout layout, float gap)
    {
        int stride = columns + layout.Gap;
        float[] memory = Filled(layout.Offset + rows * stride, gap);
        for (int row = 0; row < rows; row++)
        {
            values.AsSpan(row * columns, columns).CopyTo(memory.AsSpan(layout.Offset + row * stride));
        }

        return new Matrix(Tensor(memory, memory.Length), layout.Offset, rows, columns, stride);
    }

    private static float[] Filled(int count, float value)
    {
        var values = new float[count];
        Array.Fill(values, value);
        return values;
    }

    private static Lazy<Approx[]> Truths(int count, Func<int, Approx> truth) =>
        new(() => [.. Enumerable.Range(0, count).Select(truth)]);

    private static float[] Elements(string name, Matrix matrix, float[] before)
    {
        float[] after = matrix.Tensor.ToArray<float>();
        var elements = new float[matrix.Rows * matrix.Columns];
        for (int row = 0; row < matrix.Rows; row++)
        {
            int at = (int)(matrix.Offset + row * matrix.Stride);
            after.AsSpan(at, matrix.Columns).CopyTo(elements.AsSpan(row * matrix.Columns));
            before.AsSpan(at, matrix.Columns).CopyTo(after.AsSpan(at));
        }

        // Bits, since gaps may hold NaN.
        int touched = MemoryMarshal.Cast<float, int>(after).CommonPrefixLength(MemoryMarshal.Cast<float, int>(before));
        Assert.True(touched == after.Length, $"{name}: element {touched} of the tensor, outside the matrix, was written.");
        return elements;
    }
}
