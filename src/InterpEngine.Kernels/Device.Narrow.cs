namespace InterpEngine.Kernels;

/// <summary>Values in BF16 between ops: what only products with BF16 weights read, which round it anyway, may be kept so.</summary>
public abstract partial class Device
{
    /// <summary>
    /// How X of products with a weight is best kept by whoever makes it for such products alone: F32, or BF16 where they round it to that
    /// anyway and reading half the bytes is faster. The products' values are the same.
    /// </summary>
    public virtual ElementType OperandType(Weight weight) => ElementType.F32;

    /// <summary>Whether ops read and write BF16 themselves; else each such value is widened and rounded by a copy.</summary>
    private protected virtual bool KeepsNarrow => false;

    private bool RunNarrow(in MatMul op)
    {
        if (KeepsNarrow || !(IsNarrow(op.X) || IsNarrow(op.Out)))
        {
            return false;
        }

        using Tensor? x = Widened(op.X), output = Wide(op.Out);
        Run(op with { X = x is null ? op.X : Matrix.From(x), Out = output is null ? op.Out : Matrix.From(output) });
        Narrow(output, op.Out);
        return true;
    }

    private bool RunNarrow(in Norm op)
    {
        if (KeepsNarrow || op.Out is not { } to || !IsNarrow(to))
        {
            return false;
        }

        using Tensor? output = Wide(to);
        Run(op with { Out = output! });
        Narrow(output, to);
        return true;
    }

    private bool RunNarrow(in Activate op)
    {
        if (KeepsNarrow || !IsNarrow(op.Out))
        {
            return false;
        }

        using Tensor? output = Wide(op.Out);
        Run(op with { Out = output! });
        Narrow(output, op.Out);
        return true;
    }

    private bool RunNarrow(in Attention op)
    {
        if (KeepsNarrow || op.Z is not { Type: ElementType.BF16 } z)
        {
            return false;
        }

        using Tensor output = Allocate(ElementType.F32, z.Shape);
        Run(op with { Z = output });
        Narrow(output, z);
        return true;
    }

    private bool RunNarrow(in Copy op)
    {
        if (KeepsNarrow || !(IsNarrow(op.From) || IsNarrow(op.To)))
        {
            return false;
        }

        Convert(in op);
        return true;
    }

    /// <summary>A copy from or to BF16, on a device whose ops know F32 alone.</summary>
    private protected virtual void Convert(in Copy op) => throw new NotSupportedException();

    private static bool IsNarrow(in Matrix matrix) => matrix.Tensor.Type == ElementType.BF16;

    /// <summary>A BF16 matrix in F32; null for another.</summary>
    private Tensor? Widened(in Matrix matrix)
    {
        Tensor? wide = Wide(matrix);
        if (wide is not null)
        {
            Run(new Copy { From = matrix, To = wide });
        }

        return wide;
    }

    /// <summary>Room for a BF16 matrix in F32; null for another.</summary>
    private Tensor? Wide(in Matrix matrix) => IsNarrow(matrix) ? Allocate(ElementType.F32, matrix.Rows, matrix.Columns) : null;

    private void Narrow(Tensor? wide, Matrix matrix)
    {
        if (wide is not null)
        {
            Run(new Copy { From = wide.Reshape(matrix.Rows, matrix.Columns), To = matrix });
        }
    }
}
