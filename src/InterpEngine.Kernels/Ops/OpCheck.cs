namespace InterpEngine.Kernels;

/// <summary>Argument checks that ops share. They are programming errors, so they are ArgumentExceptions that name op and argument.</summary>
internal static class OpCheck
{
    public static void Vector(string op, string name, Tensor? tensor, int length)
    {
        if (tensor is not null && (tensor.Type != ElementType.F32 || tensor.Shape.Count != length))
        {
            throw new ArgumentException($"{op}: {name} is {tensor.Type} {tensor.Shape}; expected F32 with {length} elements.");
        }
    }

    public static void Indices(string op, string name, Tensor tensor, long length)
    {
        if (tensor.Type != ElementType.I32 || tensor.Shape.Count != length)
        {
            throw new ArgumentException($"{op}: {name} is {tensor.Type} {tensor.Shape}; expected I32 with {length} elements.");
        }
    }

    public static void Shape(string op, string name, Tensor? tensor, Shape shape, bool orNarrow = false)
    {
        if (tensor is not null
            && ((tensor.Type != ElementType.F32 && !(orNarrow && tensor.Type == ElementType.BF16)) || tensor.Shape != shape))
        {
            throw new ArgumentException(
                $"{op}: {name} is {tensor.Type} {tensor.Shape}; expected F32{(orNarrow ? " or BF16" : "")} {shape}.");
        }
    }

    public static void Same(string op, Tensor first, Tensor second, string name) => Shape(op, name, second, first.Shape);

    /// <summary>[tokens, heads, d] beside [tokens, d].</summary>
    public static void Heads(string op, Tensor heads, Matrix rows)
    {
        rows.Check(op, "the matrix", rows.Rows, rows.Columns);
        bool fits = heads.Type == ElementType.F32 && heads.Shape.Rank >= 2 && heads.Shape[^1] == rows.Columns
            && heads.Shape.Count == (long)rows.Rows * heads.Shape[^2] * rows.Columns;
        if (!fits)
        {
            throw new ArgumentException($"{op}: {heads.Type} {heads.Shape} does not hold heads of [{rows.Rows}, {rows.Columns}].");
        }
    }
}
