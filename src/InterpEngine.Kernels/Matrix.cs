namespace InterpEngine.Kernels;

/// <summary>Rows of an F32 tensor, or where an op says so of a BF16 one, as an op sees them: row r begins <c>Offset + r × Stride</c> elements into the tensor.</summary>
/// <param name="Tensor">The memory.</param>
/// <param name="Offset">Elements before the first row.</param>
/// <param name="Rows">How many rows.</param>
/// <param name="Columns">Elements in a row.</param>
/// <param name="Stride">Elements from one row to the next.</param>
public readonly record struct Matrix(Tensor Tensor, long Offset, int Rows, int Columns, long Stride)
{
    /// <summary>A whole tensor: its last axis is the columns, all others together are the rows.</summary>
    public static implicit operator Matrix(Tensor tensor) => From(tensor);

    /// <summary>A whole tensor: its last axis is the columns, all others together are the rows.</summary>
    public static Matrix From(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return new(tensor, 0, checked((int)tensor.Shape.Rows), tensor.Shape.Columns, tensor.Shape.Columns);
    }

    /// <summary>Some of the columns.</summary>
    internal Matrix Slice(int firstColumn, int columns) => this with { Offset = Offset + firstColumn, Columns = columns };

    /// <summary>Address of the first row.</summary>
    public nint Address => Tensor.Address + (nint)(Offset * Tensor.Type.Size());

    internal void Check(string op, string name, int rows, int columns, bool orNarrow = false)
    {
        if (Tensor.Type != ElementType.F32 && !(orNarrow && Tensor.Type == ElementType.BF16))
        {
            throw new ArgumentException($"{op}: {name} is {Tensor.Type}; expected F32{(orNarrow ? " or BF16" : "")}.");
        }

        if (Rows != rows || Columns != columns)
        {
            throw new ArgumentException($"{op}: {name} is [{Rows}, {Columns}]; expected [{rows}, {columns}].");
        }

        if (Rows > 0 && Columns > 0 && (Offset < 0 || Stride < 0 || Offset + (Rows - 1) * Stride + Columns > Tensor.Shape.Count))
        {
            throw new ArgumentException($"{op}: {name} reaches past the end of its tensor {Tensor.Shape}.");
        }
    }
}
